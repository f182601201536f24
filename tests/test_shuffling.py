"""The same windows in the same order from (seed, epoch), in memory and from disk."""

import threading

import h5py
import numpy as np
import pytest

from ceneurovae import shuffling
from ceneurovae.buffers import Buffers
from ceneurovae.import_data import import_h5, load_splits
from ceneurovae.pipeline import make_dataset
from ceneurovae.shuffling import region_table, window_batches
from ceneurovae.windows import Windows


@pytest.fixture
def small_regions(monkeypatch):
    """Regions and pools so small that a small file has many."""
    monkeypatch.setattr(shuffling, "REGION_BYTES", 4 * 3 * 40)
    monkeypatch.setattr(shuffling, "POOL_BYTES", 4 * 3 * 200)


@pytest.fixture(params=["recording", "windows", "gzip", "two"])
def path(request, tmp_path):
    """A file whose first channel is the number of the sample."""
    count = 900
    values = np.random.default_rng(0).normal(size=(count, 3)).astype("float32")
    values[:, 0] = np.arange(count)
    with h5py.File(tmp_path / "data.h5", "w") as file:
        if request.param == "recording":
            file["data"] = values
        elif request.param == "windows":
            file["data"] = values.reshape(-1, 10, 3)
        elif request.param == "gzip":
            file.create_dataset("data", data=values, chunks=(64, 3), compression="gzip")
        else:
            file["a/data"], file["b/data"] = values[:500], values[500:]
    return tmp_path / "data.h5"


def windows_of(path, **arguments):
    return load_splits(path, seq_len=10, valid_fraction=0, **arguments).train


def firsts(batches):
    return np.concatenate([batch[:, 0, 0] for batch in batches])


@pytest.mark.usefixtures("small_regions")
@pytest.mark.parametrize("stride", [1, 3, 10, 17])
@pytest.mark.parametrize("size", [7, 64, 1000])
def test_disk_and_memory_give_the_same_windows(path, stride, size):
    held, stored = (windows_of(path, stride=stride, memory_gb=gb) for gb in (1, 0))
    assert held.in_memory and not stored.in_memory
    everything = held.gather()
    np.testing.assert_array_equal(stored.gather(), everything)
    for windows in (held, stored):
        plain = [batch.copy() for batch in window_batches(windows, size)]
        np.testing.assert_array_equal(np.concatenate(plain), everything)
        shuffled = [batch.copy() for batch in window_batches(windows, size, True, 5, 2)]
        assert [len(batch) for batch in plain] == [len(batch) for batch in shuffled]
        shuffled = np.concatenate(shuffled)
        order = np.argsort(shuffled[:, 0, 0])
        np.testing.assert_array_equal(shuffled[order], everything)
        assert (order != np.arange(len(order))).any()


@pytest.mark.usefixtures("small_regions")
@pytest.mark.parametrize("memory_gb", [1, 0])
def test_the_order_is_a_function_of_seed_and_epoch(path, memory_gb):
    windows = windows_of(path, memory_gb=memory_gb)

    def order(seed, epoch):
        return firsts(batch.copy() for batch in window_batches(windows, 64, True, seed, epoch))

    np.testing.assert_array_equal(order(1, 4), order(1, 4))
    assert (order(1, 4) != order(1, 5)).any() and (order(1, 4) != order(2, 4)).any()

    dataset = make_dataset(windows, batch_size=64, shuffle=True, seed=1)
    next(iter(dataset))  # a look, as Keras takes, counts as a pass
    dataset.epoch.number = 4
    for epoch in (4, 5):
        got = firsts(batch.numpy() for batch in dataset)
        np.testing.assert_array_equal(got, order(1, epoch))


@pytest.mark.usefixtures("small_regions")
def test_regions_hold_every_window_and_begin_with_chunks(path):
    windows = windows_of(path, stride=3, memory_gb=0)
    regions = region_table(windows)
    starts = {
        (int(recording), int(start))
        for recording, first, last, step in regions
        for start in range(first, last - windows.seq_len + 1, step)
    }
    assert starts == set(zip(*(part.tolist() for part in windows.locate()), strict=True))
    chunk = windows.recordings[0].values.rows_per_chunk
    owner = regions[:, 1] // max(40, -(-40 // chunk) * chunk)
    assert len(set(zip(regions[:, 0], owner, strict=True))) == len(regions)


def test_a_batch_comes_from_many_regions(tmp_path, monkeypatch):
    monkeypatch.setattr(shuffling, "REGION_BYTES", 4 * 100)
    monkeypatch.setattr(shuffling, "POOL_BYTES", 4 * 100 * 20)
    with h5py.File(tmp_path / "data.h5", "w") as file:
        file["data"] = np.arange(100_000, dtype="float32")[:, None]
    windows = load_splits(
        tmp_path / "data.h5", seq_len=10, stride=10, valid_fraction=0, memory_gb=0
    ).train
    regions = [len(np.unique(batch[:, 0, 0] // 100)) for batch in window_batches(windows, 32, True)]
    # 32 draws without replacement from 20 regions of 10 windows each: 16.7 regions on average.
    assert np.mean(regions) > 14


def test_batches_stay_as_they_were_while_they_are_held(path):
    windows = windows_of(path)
    batches = list(window_batches(windows, 50, True, 1))
    again = [batch.copy() for batch in window_batches(windows, 50, True, 1)]
    for held, copy in zip(batches, again, strict=True):
        np.testing.assert_array_equal(held, copy)
    tensors = list(make_dataset(windows, 50, shuffle=True, seed=1))
    for tensor, copy in zip(tensors, again, strict=True):
        np.testing.assert_array_equal(tensor.numpy(), copy)


def test_memory_is_used_again_only_when_nobody_holds_it():
    buffers = Buffers()
    first = buffers.take((10, 3))
    assert first.ctypes.data % 64 == 0
    part, address = first[2:4], first.ctypes.data
    del first
    second = buffers.take((10, 3))
    assert second.ctypes.data != address
    del part
    assert buffers.take((5, 3)).ctypes.data == address


def test_readers_in_several_threads_share_no_handle(path):
    windows = windows_of(path, memory_gb=0)
    expected = windows.gather()
    failures = []

    def read(epoch):
        got = np.concatenate([b.copy() for b in window_batches(windows, 32, True, 0, epoch)])
        if not np.array_equal(got[np.argsort(got[:, 0, 0])], expected):
            failures.append(epoch)

    threads = [threading.Thread(target=read, args=(epoch,)) for epoch in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_a_dropped_iterator_closes_its_files(path):
    dataset = make_dataset(windows_of(path, memory_gb=0), batch_size=4)
    iterator = iter(dataset)
    next(iterator)
    del iterator, dataset
    with h5py.File(path, "a") as file:  # would fail if it were still open for reading
        file.attrs["note"] = "changed"


def test_a_file_that_changes_is_noticed(path):
    windows = windows_of(path, memory_gb=0)
    with h5py.File(path, "a") as file:
        name = "a/data" if "a" in file else "data"
        del file[name]
        file[name] = np.zeros((100, 3))
    with pytest.raises(ValueError, match="has changed since it was opened first"):
        list(window_batches(windows, 10))


def test_samples_count_once(path):
    windows = windows_of(path, stride=3, memory_gb=0)
    seen = np.concatenate(list(windows.samples()))[:, 0]
    inside = {t for start in windows.gather()[:, :, 0] for t in start}
    assert sorted(inside) == seen.tolist()


def test_import_streams_what_is_over_the_budget(path):
    train, valid = import_h5(path, seq_len=10, memory_gb=0)
    assert not train.source.in_memory and len(valid) > 0
    held, _ = import_h5(path, seq_len=10)
    assert held.source.in_memory and len(held) == len(train)
    with pytest.raises(ValueError, match="memory_gb is -1, expected a number of at least 0"):
        import_h5(path, seq_len=10, memory_gb=-1)
    with pytest.raises(ValueError, match="seed is -1, expected a whole number of at least 0"):
        import_h5(path, seq_len=10, seed=-1)


def test_runs_of_windows_are_located():
    runs = np.array([[0, 5, 3, 2], [0, 40, 1, 1], [1, 0, 2, 10]])
    windows = Windows((), 4, runs)
    assert len(windows) == 6
    recording, start = windows.locate()
    assert recording.tolist() == [0, 0, 0, 0, 1, 1]
    assert start.tolist() == [5, 7, 9, 40, 0, 10]
    assert windows.covered(0).tolist() == [[5, 13], [40, 44]]
    assert windows.covered(1).tolist() == [[0, 4], [10, 14]]
