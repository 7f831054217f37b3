# Where a run is planned to take place: devices, limits, and the rates that are known of them.
from arcfold.jobs.files import hash_of_file

CALIBRATION = "results/calibration.json"


@says_its_line
def get_machine():
    """What a plan's script is told of the machine; it finds out itself what is left to `auto`."""
    plan = config["plan"]
    return {
        "device": plan["device"],
        "devices": plan["devices"],
        # jobs that this call of Snakemake may have at a time: cores allow it, and so do GPUs where they are counted
        "slots": max(min(workflow.cores // config["threads"], workflow.cores if GPUS is None else GPUS), 1),
        "counted": GPUS is not None,
        "limit": plan["hours"] * 3600,
        "disk_gib": plan["disk_gib"],
        "cache_gib": config["cache_gib"],
        "threads": config["threads"],
        "keep_adapters": config["keep_adapters"],
        # other rates make another plan
        "calibration": hash_of_file(CALIBRATION) if Path(CALIBRATION).is_file() else None,
    }
