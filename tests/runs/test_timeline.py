"""Which job held which device when."""

from datetime import UTC, datetime, timedelta
from xml.etree import ElementTree

from arcfold.runs.timeline import draw_timeline, held_by_jobs, summary

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)


def record(began: float, startup: float, busy: float, device: str | None) -> dict:
    """A job's provenance: it began, waited `startup` seconds in all for its device and held it `busy` seconds."""
    seconds = {"import": startup / 2, "wait for a device": startup / 2, "work": busy, "total": startup + busy}
    kind = {"kind": "cpu"} if device is None else {"kind": "cuda", "visible": device}
    return {"started": (BEGIN + timedelta(seconds=began)).isoformat(), "seconds": seconds, "device": kind}


def test_two_devices_by_hand() -> None:
    jobs = held_by_jobs(
        {
            "train_adapter": [record(0, 1, 4, "0"), record(0, 1, 3, "1")],
            "search_candidates": [record(5, 1, 4, "0"), record(4, 1, 5, "1")],
        }
    )
    figures = summary(jobs)
    # GPU 0 is held from 1 to 5 and from 6 to 10, GPU 1 from 1 to 4 and from 5 to 10
    assert figures["seconds"] == 9
    assert figures["devices"] == {
        "GPU 0": {"jobs": 2, "busy_percent": round(100 * 8 / 9, 2)},
        "GPU 1": {"jobs": 2, "busy_percent": round(100 * 8 / 9, 2)},
    }
    assert figures["startup_seconds"] == 4
    assert figures["two_holders"] == 0


def test_two_holders_of_one_device_are_counted() -> None:
    jobs = held_by_jobs({"train_adapter": [record(0, 1, 4, "0"), record(2, 1, 4, "0")]})
    assert summary(jobs)["two_holders"] == 1


def test_the_picture_has_a_bar_for_each_job_and_no_bar_over_another() -> None:
    jobs = held_by_jobs({"train_adapter": [record(0, 1, 4, None), record(2, 1, 4, None), record(9, 1, 1, None)]})
    tree = ElementTree.fromstring(draw_timeline("a < b", jobs))
    bars = [
        (float(bar.get("y", 0)), float(bar.get("x", 0)), float(bar.get("width", 0)))
        for bar in tree
        if bar.tag.endswith("rect") and bar.get("fill-opacity") == "1"
    ]
    assert len(bars) == 3
    for y, x, width in bars:
        for other_y, other_x, _ in bars:
            assert (y, x) == (other_y, other_x) or y != other_y or other_x >= x + width - 1e-6 or other_x < x


def test_hostile_names_are_text_and_nothing_else() -> None:
    name = '"><script>alert(1)</script> &\x1b[31m\ufffe'
    jobs = held_by_jobs({name: [record(0, 1, 4, name)]})
    tree = ElementTree.fromstring(draw_timeline(name, jobs).encode("utf-8"))
    svg = "{http://www.w3.org/2000/svg}"
    said = [text.text for text in tree.iter(f"{svg}text")]
    shown = '"><script>alert(1)</script> & [31m'
    assert said[0] == shown
    assert f"GPU {shown}" in said
    assert {element.tag for element in tree.iter()} == {f"{svg}svg", f"{svg}rect", f"{svg}text"}
