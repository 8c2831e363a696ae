#!/usr/bin/env bash
# up.sh DIR PORT [NODES]: a private Slurm on loopback: munged, slurmctld (port PORT), and NODES slurmd (PORT+1, ...), as root, without
# systemd and cgroups. Everything it makes lies in DIR; clients: export SLURM_CONF=DIR/slurm.conf. down.sh DIR ends it.
# Each slurmd has its own PID namespace: kill -9 of the pid in DIR/run/NODE.pid takes the whole node. DIR/private is another empty
# folder on each node: what is not shared.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
D=$(realpath -m "$1") P=$2 N=${3:-3} H=$(hostname -s)
mkdir -p "$D"/{munge,state,log,run,private}
chmod 700 "$D/munge"
dd if=/dev/urandom of="$D/munge/key" bs=128 count=1 status=none
chmod 600 "$D/munge/key"
# %n in the paths of slurmd is essential; cred_expire (5 at least) is how long a requeued job must wait; config_overrides lets the nodes claim
# more CPUs than there are; without NoInAddrAny they would listen on every address.
cat >"$D/slurm.conf" <<CONF
ClusterName=lab
SlurmctldHost=$H(127.0.0.1)
SlurmctldPort=$P
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket=$D/run/munge.sock,cred_expire=5
CredType=cred/munge
StateSaveLocation=$D/state
SlurmdSpoolDir=$D/spool/%n
SlurmctldPidFile=$D/run/slurmctld.pid
SlurmdPidFile=$D/run/slurmd-%n.inner
SlurmctldLogFile=$D/log/slurmctld.log
SlurmdLogFile=$D/log/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/filetxt
JobCompLoc=$D/log/jobcomp.txt
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=1,bf_interval=1,sched_min_interval=100000,batch_sched_delay=1
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
ReturnToService=2
JobRequeue=1
SlurmctldTimeout=10
SlurmdTimeout=10
KillWait=2
CompleteWait=0
MessageTimeout=5
TCPTimeout=2
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
InactiveLimit=0
MinJobAge=300
WaitTime=0
NodeName=node[1-$N] NodeHostname=$H NodeAddr=127.0.0.1 Port=[$((P + 1))-$((P + N))] CPUs=4 RealMemory=2000 State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
CONF
export SLURM_CONF=$D/slurm.conf
munged --key-file="$D/munge/key" --socket="$D/run/munge.sock" --pid-file="$D/run/munged.pid" --log-file="$D/log/munged.log" \
  --seed-file="$D/munge/seed" --num-threads=4
slurmctld -f "$D/slurm.conf"
for i in $(seq 1 "$N"); do
  "$here/node.sh" "$D" "node$i"
done
for _ in $(seq 1 150); do
  if [ "$(sinfo -h -N -t idle -o %N 2>/dev/null | sort -u | wc -l)" = "$N" ]; then
    exit 0
  fi
  sleep 0.1 # Slurm has no event for this
done
echo "Slurm did not come up; the logs:" >&2
tail -n 5 "$D"/log/*.log >&2
exit 1
