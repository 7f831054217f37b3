#!/bin/sh
# A SLURM of one machine, with four pretended GPUs, an accounting database and enforced memory.
#
#   slurm.sh install         with apt, if it is not there; this and the rest need root
#   slurm.sh start FOLDER
#   slurm.sh stop FOLDER
#
# All that it writes lies in FOLDER, but for /etc/slurm (its programs look nowhere else) and what munge and MariaDB have
# in /run. A SLURM that is there already is left alone.
set -eu

action=$1
D=${2:-}
MARK='# of tests/slurm/slurm.sh'
PROGRAMS='slurmctld slurmd slurmdbd munged mariadbd mariadb-install-db sacctmgr'

ours() { grep -qs "$MARK" /etc/slurm/slurm.conf; }

wait_for() { # seconds, command: until it succeeds
    seconds=$1
    shift
    for _ in $(seq $((seconds * 5))); do
        if "$@" >/dev/null 2>&1; then return 0; fi
        sleep 0.2
    done
    echo "slurm.sh: no answer within $seconds s: $*" >&2
    return 1
}

start_munge() {
    mkdir -p /run/munge /var/log/munge /var/lib/munge
    chown munge: /run/munge /var/log/munge /var/lib/munge /etc/munge
    if [ ! -s /etc/munge/munge.key ]; then
        dd if=/dev/urandom bs=1 count=1024 of=/etc/munge/munge.key 2>/dev/null
        chown munge: /etc/munge/munge.key
        chmod 400 /etc/munge/munge.key
    fi
    if ! munge -n >/dev/null 2>&1; then
        runuser -u munge -- /usr/sbin/munged --force --pid-file "/run/munge/arcfold.pid"
    fi
}

start_database() {
    mkdir -p "$D/mysql" /run/mysqld
    mariadb-install-db --no-defaults --user=root --datadir="$D/mysql" --auth-root-authentication-method=normal >"$D/mariadb.log" 2>&1
    mariadbd --no-defaults --user=root --datadir="$D/mysql" --socket=/run/mysqld/mysqld.sock --skip-networking \
        --pid-file="$D/mariadbd.pid" >>"$D/mariadb.log" 2>&1 &
    wait_for 60 mariadb --no-defaults --user=root --socket=/run/mysqld/mysqld.sock -e 'select 1'
    mariadb --no-defaults --user=root --socket=/run/mysqld/mysqld.sock -e "
        create user if not exists slurm@localhost identified by 'slurm';
        grant all on slurm_acct_db.* to slurm@localhost"
}

# Memory is enforced by control groups (v1) where they can be written, else by looking now and then.
by_cgroups() {
    [ -d /sys/fs/cgroup/memory ] && [ -d /sys/fs/cgroup/freezer ] && mkdir /sys/fs/cgroup/memory/arcfold-try 2>/dev/null &&
        rmdir /sys/fs/cgroup/memory/arcfold-try && mkdir -p /sys/fs/cgroup/freezer/slurm 2>/dev/null
}

write_configs() {
    host=$(hostname -s)
    mkdir -p /etc/slurm "$D/state" "$D/spool"
    # clones of /dev/null: of regular files SLURM sets no CUDA_VISIBLE_DEVICES
    for number in 0 1 2 3; do [ -e "$D/gpu$number" ] || mknod "$D/gpu$number" c 1 3; done
    if by_cgroups; then
        enforced='ProctrackType=proctrack/cgroup
TaskPlugin=task/cgroup
JobAcctGatherType=jobacct_gather/linux'
    else
        enforced='ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherParams=OverMemoryKill
JobAcctGatherFrequency=task=1'
    fi
    # which devices a job was given: each step of one adds a line
    printf '#!/bin/sh\necho "$SLURM_JOB_ID $CUDA_VISIBLE_DEVICES" >>%s\n' "$D/devices" >"$D/task_prolog"
    chmod +x "$D/task_prolog"
    : >"$D/devices"
    cat >/etc/slurm/slurm.conf <<END
$MARK
ClusterName=lab
SlurmctldHost=$host
SlurmUser=root
AuthType=auth/munge
StateSaveLocation=$D/state
SlurmdSpoolDir=$D/spool
SlurmctldPidFile=$D/slurmctld.pid
SlurmdPidFile=$D/slurmd.pid
SlurmctldLogFile=$D/slurmctld.log
SlurmdLogFile=$D/slurmd.log
$enforced
TaskProlog=$D/task_prolog
SwitchType=switch/none
ReturnToService=2
SchedulerParameters=sched_interval=1,bf_interval=1
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=localhost
AccountingStorageTRES=gres/gpu,gres/gpu:h100
MinJobAge=300
KillWait=5
SlurmdParameters=config_overrides
GresTypes=gpu
NodeName=n1 NodeHostname=$host Port=17001 CPUs=8 RealMemory=16000 Gres=gpu:h100:4 State=UNKNOWN
PartitionName=gpu Nodes=ALL Default=YES MaxTime=INFINITE State=UP
PartitionName=short Nodes=ALL MaxTime=5 State=UP
END
    echo "Name=gpu Type=h100 File=$D/gpu[0-3]" >/etc/slurm/gres.conf
    cat >/etc/slurm/cgroup.conf <<END
CgroupPlugin=cgroup/v1
CgroupMountpoint=/sys/fs/cgroup
ConstrainRAMSpace=yes
ConstrainSwapSpace=no
END
    cat >/etc/slurm/slurmdbd.conf <<END
AuthType=auth/munge
DbdHost=localhost
SlurmUser=root
PidFile=$D/slurmdbd.pid
LogFile=$D/slurmdbd.log
StorageType=accounting_storage/mysql
StorageHost=localhost
StorageUser=slurm
StoragePass=slurm
END
    chmod 600 /etc/slurm/slurmdbd.conf
}

install() {
    for program in $PROGRAMS; do
        if ! command -v "$program" >/dev/null; then
            apt-get update -qq
            DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends \
                slurmctld slurmd slurm-client slurmdbd munge mariadb-server >/dev/null
            return
        fi
    done
}

start() {
    for program in $PROGRAMS; do
        command -v "$program" >/dev/null || { echo "slurm.sh: no $program" >&2; exit 2; }
    done
    if [ -e /etc/slurm/slurm.conf ] && ! ours; then echo 'slurm.sh: there is a SLURM on this machine' >&2; exit 2; fi
    mkdir -p "$D"
    write_configs
    start_munge
    start_database
    slurmdbd
    wait_for 60 sacctmgr --immediate --noheader list cluster
    sacctmgr --immediate add cluster lab >/dev/null || true
    sacctmgr --immediate add account lab cluster=lab >/dev/null || true
    sacctmgr --immediate add user root account=lab >/dev/null || true
    slurmctld -c
    slurmd -N n1
    wait_for 60 sh -c 'sinfo --noheader --partition gpu --states idle --format %D | grep -q 1'
}

ended() { # by its pid file
    [ -s "$1" ] || return 0
    pid=$(cat "$1")
    kill "$pid" 2>/dev/null || return 0
    for _ in $(seq 100); do
        kill -0 "$pid" 2>/dev/null || return 0
        sleep 0.1
    done
    kill -9 "$pid" 2>/dev/null || true
}

stop() {
    ours || { echo 'slurm.sh: none of ours is running' >&2; exit 2; }
    timeout 20 scancel --user root 2>/dev/null || true
    for program in slurmd slurmctld slurmdbd mariadbd; do ended "$D/$program.pid"; done
    ended /run/munge/arcfold.pid
    rm -f /etc/slurm/slurm.conf /etc/slurm/gres.conf /etc/slurm/cgroup.conf /etc/slurm/slurmdbd.conf
}

"$action"
