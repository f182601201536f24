"""Damaged and hostile files: each loads or gives a one-line error, and nothing outside is read."""

import os
import signal
import subprocess
import sys
import time

import fuzz_files
import h5py
import numpy as np
import pytest

from ceneurovae.inspection import inspect_file
from ceneurovae.readers import ReadOptions, probe, read_recordings

pytestmark = pytest.mark.once
INSPECT = (sys.executable, "-m", "ceneurovae", "inspect")
# Opens a file, says so, and keeps it open until its input ends.
WRITER = """
import sys, h5py
file = h5py.File(sys.argv[1], "w", libver="latest")
data = file.create_dataset("data", (20, 3), maxshape=(None, 3), chunks=(20, 3), dtype="f8")
data[:] = 1
if sys.argv[2] == "swmr":
    file.swmr_mode = True
file.flush()
print("open", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def path(tmp_path):
    return tmp_path / "file.h5"


def write_self_reference(path):
    """A virtual dataset made of itself: libhdf5 goes round until the stack is full."""
    layout = h5py.VirtualLayout((10, 3), "f8")
    layout[:] = h5py.VirtualSource(".", "data", (10, 3))
    with h5py.File(path, "w") as file:
        file.create_virtual_dataset("data", layout)


def test_a_sample_of_mutated_files(tmp_path):
    done = fuzz_files.fuzz(60, seed=1, folder=tmp_path)
    outcomes = {outcome for _, _, outcome, _, _ in done}
    failed = [(path.name, what, said) for _, path, what, said, _ in done if what != "loaded"]
    failed = [item for item in failed if item[1] != "error"]
    assert not failed, failed
    assert {"loaded", "error"} <= outcomes
    assert "huge_claim" in fuzz_files.table(done)


def test_the_checks_notice_what_they_are_for(tmp_path, monkeypatch):
    write_self_reference(tmp_path / "crash.h5")
    with fuzz_files.Checker() as checker:
        outcome, message = checker(tmp_path / "crash.h5")
        assert (outcome, "crashed the HDF5 library" in message) == ("error", True), message
    monkeypatch.setattr(fuzz_files, "_inspected", lambda path: {}["missing"])
    assert fuzz_files.check(tmp_path / "crash.h5")[0] == "TRACEBACK"


def test_a_file_that_crashes_the_library_is_one_line_on_the_command_line(path):
    write_self_reference(path)
    done = subprocess.run([*INSPECT, str(path)], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stdout == ""
    expected = (
        f"Error: '{path}' is damaged: reading it crashed the HDF5 library (signal 11, SIGSEGV)"
    )
    assert done.stderr == f"{expected}. Restore it from a copy.\n"


def test_the_probe_passes_a_sound_file_and_other_errors(path, tmp_path):
    with h5py.File(path, "w") as file:
        file["data"] = np.ones((9, 2))
    (tmp_path / "text.h5").write_text("hello")
    probe.probe([path, tmp_path / "text.h5", tmp_path / "none.h5"])


@pytest.mark.parametrize("way", ["fork", "spawn"])
def test_the_probe_reads_in_a_process_of_its_own(path, monkeypatch, way):
    write_self_reference(path)
    monkeypatch.setattr(probe, "_way", lambda: way)
    with pytest.raises(ValueError, match=r"file.h5' is damaged: .* \(signal 11, SIGSEGV\)"):
        probe.probe([path])


def test_what_has_threads_is_not_forked(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow", object())
    assert probe._way() == "spawn"


@pytest.fixture
def forked(monkeypatch):
    """A probe whose child has what the test replaced, however many threads the tests have."""
    monkeypatch.setattr(probe, "_way", lambda: "fork")
    return monkeypatch


def test_a_signal_is_named(path, forked):
    path.touch()
    forked.setattr(probe, "_read", lambda *_: os.kill(os.getpid(), signal.SIGBUS))
    with pytest.raises(ValueError, match=r"signal 7, SIGBUS"):
        probe.probe([path])
    forked.setattr(probe, "_read", lambda *_: os._exit(9))
    with pytest.raises(ValueError, match=r"\(exit status 9\)"):
        probe.probe([path])


def test_what_does_not_return_is_cut_off(path, forked):
    path.touch()
    forked.setattr(probe, "PATIENCE", 0.3)
    forked.setattr(probe, "_read", lambda *_: time.sleep(60))
    start = time.perf_counter()
    with pytest.raises(ValueError, match="it was not done after 0 s. It is damaged, or its disk"):
        probe.probe([path])
    assert time.perf_counter() - start < 10


def test_what_takes_all_memory_is_stopped(path, forked):
    path.touch()
    forked.setattr(probe, "memory_budget", lambda: 1e8)
    forked.setattr(probe, "_read", lambda *_: np.ones(10**8))
    with pytest.raises(ValueError, match="takes more than 0.2 GB of memory, but it has 0 GB"):
        probe.probe([path])


def test_the_child_prints_nothing(path, forked, capfd):
    path.touch()
    forked.setattr(probe, "_read", lambda *_: print("here") or os.write(2, b"there") or {}["gone"])
    probe.probe([path])
    assert capfd.readouterr() == ("", "")


def outside_link(file, folder):
    file["data"] = h5py.ExternalLink("other.h5", "values")


def outside_link_to_a_group(file, folder):
    file["inside"] = h5py.ExternalLink("other.h5", "/group")


def outside_storage(file, folder):
    np.full((20, 3), 7.0).tofile(folder / "other.raw")
    external = [(str(folder / "other.raw"), 0, 20 * 3 * 8)]
    file.create_dataset("data", (20, 3), "f8", external=external)


def outside_source(file, folder):
    layout = h5py.VirtualLayout((20, 3), "f8")
    layout[:] = h5py.VirtualSource("other.h5", "values", (20, 3))
    file.create_virtual_dataset("data", layout)


@pytest.mark.parametrize(
    ("write", "what"),
    [
        (outside_link, "'data' is a link to 'other.h5'"),
        (outside_link_to_a_group, "'inside' is a link to 'other.h5'"),
        (outside_storage, "'data' is external storage to '.*other.raw'"),
        (outside_source, "'data' is a virtual dataset to 'other.h5'"),
    ],
)
def test_other_files_are_read_only_where_allowed(path, write, what):
    with h5py.File(path.with_name("other.h5"), "w") as file:
        file["values"] = np.full((20, 3), 7.0)
        file["group/values"] = np.full((20, 3), 7.0)
    with h5py.File(path, "w") as file:
        write(file, path.parent)
    for read in (read_recordings, inspect_file):
        with pytest.raises(ValueError, match=f"leads outside: {what}. If you trust both files"):
            read(path)
    (recording,) = read_recordings(path, allow_external=True)
    assert (recording.values == 7).all() and recording.values.shape == (20, 3)
    inspect_file(path, ReadOptions(allow_external=True))
    probe.probe([path], ReadOptions(allow_external=True))


@pytest.mark.parametrize("name", [".", "file.h5"])
def test_a_virtual_dataset_of_the_file_itself(path, name):
    layout = h5py.VirtualLayout((40, 3), "f8")
    layout[:20] = layout[20:] = h5py.VirtualSource(name, "values", (20, 3))
    with h5py.File(path, "w") as file:
        file["values"] = np.full((20, 3), 7.0)
        file.create_virtual_dataset("both", layout)
    (recording,) = read_recordings(path, ["both"], layout="arrays")
    assert (recording.values == 7).all() and recording.values.shape == (40, 3)


def huge_and_never_written(file):
    file.create_dataset("data", (10**12 // 8, 10), "f8", chunks=(1000, 10))


def huge_and_contiguous(file):
    file.create_dataset("data", (10**12 // 8, 10), "f8")


def huge_labels(file):
    file["data"] = np.ones((20, 3))
    file.create_dataset("timestamps", (10**12,), "f8", chunks=(1000,))


@pytest.mark.parametrize("write", [huge_and_never_written, huge_and_contiguous, huge_labels])
@pytest.mark.parametrize("options", [{}, {"transpose": True}])
def test_a_claim_of_terabytes_is_an_error(path, write, options):
    with h5py.File(path, "w") as file:
        write(file)
    message = "the dataset '.*' claims .* GB, but the file has .* GB. It was never filled"
    with pytest.raises(ValueError, match=message):
        read_recordings(path, **options)
    with pytest.raises(ValueError, match=message):
        inspect_file(path, ReadOptions(**options))


def test_a_file_with_a_hole_of_terabytes_is_an_error(path):
    with h5py.File(path, "w") as file:
        huge_and_contiguous(file)
        file["data"][0] = 1
        size = file["data"].id.get_offset() + file["data"].nbytes
    try:
        os.truncate(path, size)
    except OSError:
        pytest.skip("the file system has no files of 10 TB")
    for read in (read_recordings, inspect_file):
        with pytest.raises(ValueError, match=r"claims 1e\+04 GB, but the file has .* GB"):
            read(path)
    os.truncate(path, 3000)
    with pytest.raises(ValueError, match="is cut off: it is shorter than it says"):
        read_recordings(path)


def test_a_packed_archive_is_no_false_claim(tmp_path):
    np.savez_compressed(tmp_path / "zeros.npz", data=np.zeros((10_000, 10)))
    (recording,) = read_recordings(tmp_path / "zeros.npz")
    assert recording.values.shape == (10_000, 10)


def test_cyclic_links_end(path):
    with h5py.File(path, "w") as file:
        file["a/values"] = np.ones((20, 3))
        file["a/self"] = file["a"]
        file["a/root"] = file
        file["a/path"] = h5py.SoftLink("/a/root/a")
    for layout in ("arrays", "groups"):
        (recording,) = read_recordings(path, ["*values*"], layout=layout)
        assert recording.values.shape == (20, 3)
    with h5py.File(path, "r+") as file:
        file["a/soft"] = h5py.SoftLink("/a/soft")
    with pytest.raises(ValueError, match="too many links"):
        read_recordings(path)


def test_deep_groups_are_an_error(path):
    with h5py.File(path, "w") as file:
        file["/".join(["g"] * 200) + "/data"] = np.ones((20, 3))
    for read in (read_recordings, inspect_file):
        with pytest.raises(ValueError, match="nests groups more than 100 deep"):
            read(path)


@pytest.mark.parametrize("mode", ["swmr", "plain"])
def test_a_file_that_another_process_writes(path, mode):
    command = [sys.executable, "-c", WRITER, str(path), mode]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as writer:
        assert writer.stdout.readline() == b"open\n"
        for read in (read_recordings, inspect_file):
            with pytest.raises(ValueError, match="is being written by another process. Wait until"):
                read(path)
        writer.communicate()
    assert read_recordings(path)[0].values.shape == (20, 3)


def test_types_that_numpy_does_not_have_are_left_out(path):
    with h5py.File(path, "w") as file:
        file["data"] = np.ones((20, 3))
        space = h5py.h5s.create_simple((20, 3))
        h5py.h5d.create(file.id, b"time", h5py.h5t.UNIX_D32LE, space)
    (recording,) = read_recordings(path)
    assert recording.channels == ("data/0", "data/1", "data/2")
    with h5py.File(path, "r+") as file:
        h5py.h5d.create(file.id, b"caf\xe9", h5py.h5t.IEEE_F64LE, space)
    with pytest.raises(ValueError, match="file.h5' is damaged, .* 'utf-8' codec can't decode"):
        read_recordings(path)


def test_names_that_are_lists_of_numbers_are_texts(path):
    with h5py.File(path, "w") as file:
        file["tracks"] = np.ones((1, 2, 3, 20))
        file.create_dataset("node_names", (3,), h5py.vlen_dtype("f8"))
    assert all(isinstance(name, str) for name in read_recordings(path)[0].channels)
    inspect_file(path)


def test_names_that_are_empty_or_huge(path):
    with h5py.File(path, "w") as file:
        file["data"] = np.ones((20, 3))
        file.create_dataset("channel_names", data=h5py.Empty("f8"))
    assert read_recordings(path)[0].channels == ("data/0", "data/1", "data/2")
    with h5py.File(path, "r+") as file:
        del file["channel_names"]
        file.create_dataset("channel_names", (3,), "S500000000")
    with pytest.raises(ValueError, match="'channel_names' claims 1.5 GB"):
        read_recordings(path)


def test_a_damaged_header_of_numpy_is_explained(tmp_path):
    np.save(tmp_path / "file.npy", np.ones((20, 3)))
    content = (tmp_path / "file.npy").read_bytes()
    (tmp_path / "file.npy").write_bytes(content.replace(b"'shape': (20, 3)", b"'shape': (20, 3("))
    with pytest.raises(ValueError, match="is no NPY file that can be read"):
        read_recordings(tmp_path / "file.npy")


@pytest.mark.parametrize("damaged", ["level0", "label0"])
def test_damaged_names_of_the_columns_of_pandas_are_no_poses(tmp_path, damaged):
    pytest.importorskip("tables")
    path = tmp_path / "file.h5"
    fuzz_files.write_deeplabcut(path, "fixed")
    with h5py.File(path, "r+") as file:
        name = f"df_with_missing/block0_items_{damaged}"
        del file[name]
        file.create_group(name)
    assert inspect_file(path)["layout"] != "deeplabcut"


@pytest.mark.parametrize("link", ["hard", "soft"])
def test_an_nwb_file_that_holds_itself_is_an_error(tmp_path, link):
    pytest.importorskip("pynwb")
    path = tmp_path / "file.nwb"
    fuzz_files.write_nwb(path)
    with h5py.File(path, "r+") as file:
        file["acquisition/again"] = file if link == "hard" else h5py.SoftLink("/acquisition")
    with pytest.raises(ValueError, match="has the group 'acquisition/again' in several places"):
        read_recordings(path)
