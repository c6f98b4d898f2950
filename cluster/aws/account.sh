#!/usr/bin/env bash
# What a cluster for one kind of job needs in an AWS account, made or removed by whoever administers it:
#
#     account.sh make      two security groups, two roles with the policies of iam/, and rayae-JOB.yaml for `ray up`
#     account.sh remove    the roles and groups, also what a `make` has left half made; after `ray down`
#
# Settings come from the environment; README.md beside this explains them.
set -euo pipefail
shopt -s inherit_errexit  # a command that fails within $(...) ends it too

here=$(cd "$(dirname "$0")" && pwd)
: "${JOB:?score or train}" "${REGION:?as eu-central-1}" "${VPC:?the network, vpc-...}"
cluster=rayae-$JOB
export AWS_DEFAULT_REGION=$REGION AWS_REGION=$REGION AWS_PAGER=""

fill() {  # a file of this folder with its MY_... replaced
  sed -e "s|MY_CLUSTER|$cluster|g" -e "s|MY_REGION|$REGION|g" -e "s|MY_ACCOUNT|$account|g" \
    -e "s|MY_AMI|$AMI|g" -e "s|MY_SUBNET|$SUBNET|g" -e "s|MY_GROUP|$group|g" -e "s|MY_SSH_GROUP|$ssh_group|g" \
    -e "s|MY_KEY_NAME|$KEY_NAME|g" -e "s|MY_KEY_FILE|$KEY_FILE|g" -e "s|MY_REGISTRY|$REGISTRY|g" \
    -e "s|MY_IMAGES|$IMAGES|g" -e "s|MY_MODELS|$MODELS|g" -e "s|MY_RUNS|$RUNS|g" "$here/$1"
}

make_group() {  # name, what it is for, the rule of what comes in; the id
  local made
  made=$(aws ec2 create-security-group --group-name "$1" --description "$2" --vpc-id "$VPC" \
    --query GroupId --output text)
  aws ec2 authorize-security-group-ingress --group-id "$made" --ip-permissions "${3//ITSELF/$made}" > /dev/null
  echo "$made"
}

make_role() {  # name, policies
  local name=$1 policy
  aws iam create-role --role-name "$name" --assume-role-policy-document "$(cat "$here/iam/trust.json")" > /dev/null
  for policy in "${@:2}"; do
    aws iam put-role-policy --role-name "$name" --policy-name "$policy" \
      --policy-document "$(fill "iam/$policy.json")"
  done
  aws iam create-instance-profile --instance-profile-name "$name" > /dev/null
  aws iam add-role-to-instance-profile --instance-profile-name "$name" --role-name "$name"
}

make_all() {
  : "${SUBNET:?subnet-...}" "${SSH_CIDR:?the addresses that may reach the head by SSH, as 198.51.100.7/32}" \
    "${KEY_NAME:?a key pair of EC2 for this cluster alone}" "${KEY_FILE:?its private key, a file here}" \
    "${AMI:?ami-...}" "${REGISTRY:?ACCOUNT.dkr.ecr.REGION.amazonaws.com}" \
    "${IMAGES:?the bucket of the images}" "${MODELS:?the bucket of the bundles}" "${RUNS:?the bucket of the runs}"
  if [[ ! $SSH_CIDR =~ ^[0-9.]+/(1[6-9]|2[0-9]|3[0-2])$ || ! $JOB =~ ^(score|train)$ ]]; then
    echo "SSH_CIDR=$SSH_CIDR is no network of /16 to /32, or JOB=$JOB neither score nor train: nothing is made" >&2
    exit 2
  fi
  if [[ $KEY_NAME$KEY_FILE$REGISTRY$IMAGES$MODELS$RUNS$AMI$SUBNET == *[\&\|\\]* ]]; then
    echo "a setting holds &, | or a backslash: nothing is made" >&2
    exit 2
  fi
  account=$(aws sts get-caller-identity --query Account --output text)
  group=$(make_group "$cluster" "Nodes of $cluster, among themselves" \
    '[{"IpProtocol": "-1", "UserIdGroupPairs": [{"GroupId": "ITSELF"}]}]')
  ssh_group=$(make_group "$cluster-ssh" "SSH to the head of $cluster" \
    "[{\"IpProtocol\": \"tcp\", \"FromPort\": 22, \"ToPort\": 22, \"IpRanges\": [{\"CidrIp\": \"$SSH_CIDR\"}]}]")
  make_role "$cluster-worker" "$JOB" pull
  make_role "$cluster-head" "$JOB" pull launcher
  fill cluster.yaml > "$cluster.yaml"
  echo "made; now: ray up $cluster.yaml"
}

if_there() {  # a command of aws; that there is nothing to remove is no failure, as after a `make` that ended half way
  local said
  said=$(aws "$@" 2>&1) || grep -q NoSuchEntity <<< "$said" || { echo "$said" >&2; return 1; }
  grep -q NoSuchEntity <<< "$said" || echo "$said"
}

remove_role() {
  local name=$1 policy
  if_there iam remove-role-from-instance-profile --instance-profile-name "$name" --role-name "$name"
  if_there iam delete-instance-profile --instance-profile-name "$name"
  for policy in $(if_there iam list-role-policies --role-name "$name" --query 'PolicyNames[]' --output text); do
    aws iam delete-role-policy --role-name "$name" --policy-name "$policy"
  done
  if_there iam delete-role --role-name "$name"
}

remove_all() {
  local name
  remove_role "$cluster-worker"
  remove_role "$cluster-head"
  for name in $(aws ec2 describe-security-groups --query 'SecurityGroups[].GroupId' --output text \
    --filters "[{\"Name\": \"vpc-id\", \"Values\": [\"$VPC\"]},
      {\"Name\": \"group-name\", \"Values\": [\"$cluster\", \"$cluster-ssh\"]}]"); do
    aws ec2 delete-security-group --group-id "$name" > /dev/null
  done
}

case ${1-} in
  make) make_all ;;
  remove) remove_all ;;
  *) sed -n '2,7s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
esac
