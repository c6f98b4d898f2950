import subprocess
import sys

LIGHT = """
    agreement allocator answers archives assignment batches borderline breakdowns bundle bundle_set by_product
    calibrations changes chunk_reader cli compaction comparison complaints completeness config cuts database decisions
    disagreement discoveries disk distributions drift duplicates epochs errors evaluated evaluation evidence exhibits
    expansion failure_budget filelist findings flags flatness folders follow formats gallery gates histogram history
    judgement keyspace labels lease listing loader manifest memory operating_points overview page pairing pictures
    placements prefixes preprocess reader records reference region report result_files results run selection settings
    solar_cells sources splits statistics storage survey tables terminal threshold trade_off trust verbs.compare
    verbs.decisions verbs.drift verbs.evaluate verbs.flag verbs.retry verbs.score verdicts verification
""".split()
WITHOUT_RAY = ["scorer", "scoring", "training", "history", "verbs.train", "verbs.score", "verbs.calibrate"]


def said(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return done.stdout.strip()


def test_light_modules_load_neither_ray_nor_torch() -> None:
    code = f"""
import importlib, sys
for name in {LIGHT}:
    importlib.import_module("rayae." + name)
    if "ray" in sys.modules or "torch" in sys.modules:
        print(name)
        break
"""
    assert said(code) == ""


def test_a_task_that_decodes_loads_no_torch() -> None:
    assert said("import sys, rayae.on_ray.score; print('torch' in sys.modules)") == "False"


def test_all_but_on_ray_works_without_ray() -> None:
    code = f"""
import importlib, sys
sys.modules["ray"] = None
for name in {WITHOUT_RAY}:
    importlib.import_module("rayae." + name)
print("all imported")
"""
    assert said(code) == "all imported"
