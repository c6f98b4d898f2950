import time

import pytest

from rayae.redaction import kept, redacted
from rayae.terminal import printable


@pytest.mark.parametrize(
    "name", ["AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AZURE_STORAGE_ACCOUNT_KEY", "AZURE_STORAGE_SAS_TOKEN"]
)
def test_a_secret_of_the_environment_is_hidden(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "wJalrXUtnFEMI/K7MDENG")
    assert redacted("key wJalrXUtnFEMI/K7MDENG was refused") == "key *** was refused"
    assert printable("key wJalrXUtnFEMI/K7MDENG was refused") == "key *** was refused"


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        ("https://h/a.png?X-Amz-Signature=abc&X-Amz-Date=1", "https://h/a.png?X-Amz-Signature=***&X-Amz-Date=1"),
        ("https://h/a.png?sv=1&sig=a%2Bb was", "https://h/a.png?sv=1&sig=*** was"),
        ("https://h/a?X-Amz-Signature%3Dabc", "https://h/a?X-Amz-Signature%3D***"),
        (
            "https://h/a?Policy=a&x-oss-signature=b&q-signature=c",
            "https://h/a?Policy=***&x-oss-signature=***&q-signature=***",
        ),
        ("https://h/a?code=a&access_key=b&jwt=c#token=d", "https://h/a?code=***&access_key=***&jwt=***#token=***"),
        ("https://user:secret@host/a.png", "https://***@host/a.png"),
        ("http://user:pa'ss@[::1]:59/a.png", "http://***@[::1]:59/a.png"),
        ("http://secret@host", "http://***@host"),
        ("HTTP://h/a?md5=x&expires=1&pwd=y", "HTTP://h/a?md5=***&expires=1&pwd=***"),
        ("https://h/a?X%2DAmz%2DSignature=abc", "https://h/a?X%2DAmz%2DSignature=***"),
        ("url: /a.png?password=abc", "url: /a.png?password=***"),
        ("abfss://container@account.dfs.core.windows.net/a", "abfss://container@account.dfs.core.windows.net/a"),
        ("s3://bucket/a@b/c:d@e.png", "s3://bucket/a@b/c:d@e.png"),
        ("/data/cam1;keyframe=12.png", "/data/cam1;keyframe=12.png"),
        ("s3://b/day#code=5/a.png", "s3://b/day#code=5/a.png"),
        ("/data/a?b&c=1.png", "/data/a?b&c=1.png"),
    ],
)
def test_signatures_and_passwords_of_uris_are_hidden_and_nothing_else(text: str, hidden: str) -> None:
    assert redacted(text) == hidden


def test_the_path_of_a_key_file_and_short_values_are_no_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", __file__)
    monkeypatch.setenv("AWS_SESSION_TOKEN", "short")
    assert redacted(f"{__file__} is short") == f"{__file__} is short"


def test_what_is_kept_in_a_file_is_redacted_text_by_text(monkeypatch: pytest.MonkeyPatch) -> None:
    secret = 'quo"te\\and/slash'
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", secret)
    monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", "AccountName=a;AccountKey=abcdefgh")
    given = {"a": [secret, 1, None], "b": {"c": "AccountName=a;AccountKey=abcdefgh"}, "d": "https://u:p@ss@h/x"}
    assert kept(given) == {"a": ["***", 1, None], "b": {"c": "***"}, "d": "https://***@h/x"}


@pytest.mark.parametrize(
    "text", ["#sig" * 5000, ";" * 20_000, "https://h/?" + "&key" * 5000, "https://h/?" + "a=" * 9000]
)
def test_hostile_text_is_redacted_in_time_that_grows_with_its_length(text: str) -> None:
    began = time.process_time()
    redacted(text)
    assert time.process_time() - began < 2, "a pattern that tries every place again takes minutes"
