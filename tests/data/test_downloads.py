"""Published image sets: fetched from servers of this machine, or taken from a folder, and what they become."""

import gzip
import hashlib
import http.server
import re
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from test_idx import idx_bytes

from memrnn.data import dataset, downloads, sources
from memrnn.data.downloads import Archive, Collection, Part, RecordCollection, Tarball

SHAPE = (2, 3)


def made_part(stem: str, labels: list[int], seed: int) -> tuple[Part, dict[str, bytes]]:
    """A part of a collection with random images, and its packed files by name."""
    images = np.random.default_rng(seed).integers(0, 256, (len(labels), *SHAPE), dtype=np.uint8)
    archives, files = [], {}
    for kind, values in (("images-idx3", images), ("labels-idx1", np.array(labels, dtype=np.uint8))):
        content = idx_bytes(values)
        packed = gzip.compress(content, mtime=0)
        name = f"{stem}-{kind}-ubyte.gz"
        files[name] = packed
        md5s = (hashlib.md5(packed).hexdigest(), hashlib.md5(content).hexdigest())
        archives.append(Archive(name, len(packed), *md5s))
    return Part(*archives, count=len(labels)), files


TRAIN, TRAIN_FILES = made_part("train", [2, 0, 1, 1, 0, 2, 2, 1], seed=0)
TEST, TEST_FILES = made_part("t10k", [1, 2, 0, 0], seed=1)
WHOLE, WHOLE_FILES = made_part("t10k", [0, 1, 2] * 20, seed=2)
FILES = TRAIN_FILES | TEST_FILES
FIRST = "train-images-idx3-ubyte.gz"  # the file that is fetched first


def values_of(packed: bytes) -> np.ndarray:
    """Values of a made file, without the reader under test."""
    content = gzip.decompress(packed)
    dimensions = content[3]
    shape = [int.from_bytes(content[4 + 4 * k : 8 + 4 * k], "big") for k in range(dimensions)]
    return np.frombuffer(content[4 + 4 * dimensions :], dtype=np.uint8).reshape(shape)


class Server(http.server.ThreadingHTTPServer):
    """A mirror on a free port of this machine; `answers` may be changed while it runs."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers: dict[str, bytes | Callable[[http.server.BaseHTTPRequestHandler], None]] = {}
        self.asked: list[str] = []
        self.url = f"http://127.0.0.1:{self.server_port}/"
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()


class Handler(http.server.BaseHTTPRequestHandler):
    timeout = 5

    def do_GET(self) -> None:
        name = self.path.lstrip("/")
        self.server.asked.append(name)
        answer = self.server.answers.get(name)
        if answer is None:
            self.send_error(404)
        elif callable(answer):
            answer(self)
        else:
            send(self, answer)

    def log_message(self, *_: object) -> None:
        pass


def send(handler: http.server.BaseHTTPRequestHandler, body: bytes, length: int | None = None) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(body) if length is None else length))
    handler.end_headers()
    handler.wfile.write(body)


@pytest.fixture
def serve() -> Iterator[Callable[[], Server]]:
    servers: list[Server] = []

    def start() -> Server:
        servers.append(Server())
        return servers[-1]

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder; requests go to this machine, whatever proxies are set."""
    monkeypatch.setenv("MEMRNN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    return tmp_path / "cache"


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that would have been waited between tries."""
    waited: list[float] = []
    monkeypatch.setattr("pooch.core.time.sleep", waited.append)
    return waited


@pytest.fixture
def publish(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Put small made files in the place of MNIST's and name their mirrors."""

    def put(*servers: Server | str) -> None:
        mirrors = tuple(server if isinstance(server, str) else server.url for server in servers)
        made = Collection("mnist", mirrors, SHAPE, ("0", "1", "2"), {"train": TRAIN, "test": TEST}, inside="MNIST/raw")
        monkeypatch.setitem(downloads.COLLECTIONS, "mnist", made)
        whole = replace(made, parts={"whole": WHOLE}, held_out=12)
        monkeypatch.setitem(downloads.COLLECTIONS, "mnist10k", whole)

    return put


def cached(cache: Path) -> list[str]:
    return sorted(str(path.relative_to(cache)) for path in cache.rglob("*") if path.is_file())


def unused_address() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}/"


def refusal() -> str:
    with pytest.raises(ValueError) as caught:
        downloads.fetch("mnist")
    return str(caught.value)


# ---------------------------------------------------------------- the registry


def test_the_registry_is_well_formed():
    idx = {name: each for name, each in downloads.COLLECTIONS.items() if isinstance(each, Collection)}
    assert downloads.COLLECTIONS.keys() - idx.keys() == {"cifar10"}  # see test_cifar.py
    for name, collection in idx.items():
        assert set(collection.parts) in ({"train", "test"}, {"whole"}), name
        assert ("whole" in collection.parts) == (collection.held_out > 0)
        assert len(collection.mirrors) >= 2 and all(mirror.endswith("/") for mirror in collection.mirrors)
        assert len(collection.classes) == 10 and collection.shape == (28, 28)
        for archive in collection.archives:
            assert archive.name.endswith("-ubyte.gz") and archive.size > 0
            assert re.fullmatch("[0-9a-f]{32} [0-9a-f]{32}", f"{archive.md5} {archive.contents_md5}")
    assert downloads.COLLECTIONS["mnist10k"].parts["whole"] == downloads.COLLECTIONS["mnist"].parts["test"]
    sums = [a.md5 for name in ("mnist", "fashion_mnist") for a in downloads.COLLECTIONS[name].archives]
    sums += [a.contents_md5 for name in ("mnist", "fashion_mnist") for a in downloads.COLLECTIONS[name].archives]
    assert len(set(sums)) == 16  # a checksum copied to a second file would let a wrong one pass


# ---------------------------------------------------------------- fetching


def test_files_are_fetched_once_and_kept_in_the_cache(serve, publish, cache):
    server = serve()
    server.answers = dict(FILES)
    publish(server)
    paths = downloads.fetch("mnist")
    assert {name: path.read_bytes() for name, path in paths.items()} == FILES
    assert cached(cache) == sorted(f"mnist/{name}" for name in FILES)
    assert sorted(server.asked) == sorted(FILES)
    assert downloads.fetch("mnist") == paths
    assert len(server.asked) == len(FILES)


def test_a_tar_archive_is_fetched_once_whole_and_kept_as_it_is(serve, cache, waits, monkeypatch):
    content = b"\x1f\x8b" + bytes(1000)  # what is in it, reading tells
    sound = Tarball("photographs.tar.gz", len(content), hashlib.md5(content).hexdigest(), ())
    server = serve()
    made = RecordCollection("cifar10", (server.url,), (2, 3, 3), ("0", "1"), sound, {"train": (), "test": ()})
    monkeypatch.setitem(downloads.COLLECTIONS, "cifar10", made)
    for wrong, message in (
        (content[:-1], "truncated: 1001 bytes"),
        (content[:-1] + b"!", "known hash: expected .*md5"),
    ):
        server.answers = {sound.name: wrong}
        with pytest.raises(ValueError, match=rf"{server.url}{sound.name}: ValueError: .*{message}"):
            downloads.fetch("cifar10")
        assert cached(cache) == []
    server.answers = {sound.name: content}
    paths = downloads.fetch("cifar10")
    assert {name: path.read_bytes() for name, path in paths.items()} == {sound.name: content}
    assert cached(cache) == [f"cifar10/{sound.name}"]
    asked = len(server.asked)
    assert downloads.locate(settings("cifar10")) == {sound.name: [(paths[sound.name],)]} and len(server.asked) == asked


def test_a_cached_set_needs_no_network(serve, publish, cache):
    server = serve()
    server.answers = dict(FILES)
    publish(server)
    paths = downloads.fetch("mnist")
    publish(unused_address())
    assert downloads.fetch("mnist") == paths


def test_the_next_mirror_is_asked_when_one_fails(serve, publish, cache, waits, caplog):
    empty, full = serve(), serve()
    full.answers = dict(FILES)
    publish(unused_address(), empty, full)
    assert {name: path.read_bytes() for name, path in downloads.fetch("mnist").items()} == FILES
    assert empty.asked.count(FIRST) == 1 + downloads.RETRIES and sorted(full.asked) == sorted(FILES)
    assert f"{empty.url}{FIRST}: HTTPError: 404" in caplog.text
    assert cached(cache) == sorted(f"mnist/{name}" for name in FILES)


def test_a_mirror_that_fails_for_a_moment_is_asked_again(serve, publish, cache, waits):
    server = serve()
    server.answers = dict(FILES)
    failures = ["once", "twice"]

    def recover(handler: http.server.BaseHTTPRequestHandler) -> None:
        if failures:
            failures.pop()
            handler.send_error(503)
        else:
            send(handler, FILES[FIRST])

    server.answers[FIRST] = recover
    publish(server)
    assert downloads.fetch("mnist")[FIRST].read_bytes() == FILES[FIRST]
    assert waits == [1, 2]


SOUND = FILES[FIRST]


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (SOUND[:-1] + bytes([SOUND[-1] ^ 1]), rf"does not match the known hash: expected .*{TRAIN.images.md5} but got"),
        (SOUND[:-5], rf"truncated: {len(SOUND) - 5} bytes; expected {len(SOUND)}"),
        (b"", rf"truncated: 0 bytes; expected {len(SOUND)}"),
        (SOUND + b"\0", rf"too long: {len(SOUND) + 1} bytes or more; expected {len(SOUND)}"),
        (b"<html>Please log in to this network</html>" * 9, r"too long: .* bytes or more; expected"),
        (lambda handler: send(handler, SOUND[:20], length=len(SOUND)), r"(IncompleteRead|Connection broken)"),
        (lambda handler: handler.send_error(404), r"HTTPError: 404"),
        (lambda handler: handler.send_error(500), r"HTTPError: 500"),
        (lambda handler: handler.wfile.write(b"no HTTP at all\r\n\r\n"), r"ConnectionError"),
    ],
    ids=["altered", "truncated", "empty", "longer", "log-in page", "cut off", "missing", "broken", "no HTTP"],
)
def test_a_wrong_file_is_refused_and_never_cached(serve, publish, cache, waits, answer, message):
    server = serve()
    server.answers = FILES | {FIRST: answer}
    publish(server)
    assert re.search(rf"{re.escape(server.url + FIRST)}: .*{message}", refusal())
    assert cached(cache) == []


def test_a_server_that_never_stops_sending_is_cut_off(serve, publish, cache, waits):
    sent = []

    def pour(handler: http.server.BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        sent.append(0)
        while sent[-1] < 1 << 28:
            handler.wfile.write(bytes(1 << 16))
            sent[-1] += 1 << 16

    server = serve()
    server.answers = {FIRST: pour}
    server.handle_error = lambda *_: None  # that the client goes away is what is wanted
    publish(server)
    assert re.search(rf"too long: \d+ bytes or more; expected {TRAIN.images.size}", refusal())
    assert len(sent) == 3 and max(sent) < 1 << 26  # what fits the sockets' buffers
    assert cached(cache) == []


def test_without_a_network_every_mirror_is_named_and_what_to_do(publish, cache, waits):
    mirrors = [unused_address(), unused_address()]
    publish(*mirrors)
    message = refusal()
    assert message.startswith(f"{FIRST}: not in the cache, {cache}, and no mirror of mnist gave it:\n")
    assert all(f"{mirror}{FIRST}: ConnectionError: " in message for mirror in mirrors)
    last = message.splitlines()[-1]
    assert last.startswith("Without a network, set dataset.data_dir to a folder with the files of mnist: ")
    assert all(name in last for name in FILES)


def test_a_file_damaged_in_the_cache_is_fetched_again_or_refused(serve, publish, cache, waits):
    server = serve()
    server.answers = dict(FILES)
    publish(server)
    downloads.fetch("mnist")
    (cache / "mnist" / FIRST).write_bytes(SOUND[:-1])
    assert downloads.fetch("mnist")[FIRST].read_bytes() == SOUND
    assert server.asked.count(FIRST) == 2
    (cache / "mnist" / FIRST).write_bytes(SOUND[:-1])
    publish(unused_address())
    assert f"{FIRST}: not in the cache" in refusal()


def test_a_cache_that_cannot_be_written_is_told(serve, publish, cache, waits):
    server = serve()
    server.answers = dict(FILES)
    publish(server)
    cache.write_text("a file in the folder's place")
    assert re.search(rf"(FileExists|NotADirectory)Error: .*{re.escape(str(cache))}", refusal())


@pytest.mark.parametrize("terminal", [True, False])
def test_a_progress_bar_is_shown_on_a_terminal_only(serve, publish, cache, capsys, monkeypatch, terminal):
    server = serve()
    server.answers = dict(FILES)
    publish(server)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    downloads.fetch("mnist")
    assert ("100%|" in capsys.readouterr().err) == terminal


# ---------------------------------------------------------------- a folder of the user's


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """A folder with the made files, half of them unpacked."""
    folder = tmp_path / "given"
    folder.mkdir()
    for name, packed in FILES.items():
        if "images" in name:
            (folder / name).write_bytes(packed)
        else:
            (folder / name.removesuffix(".gz")).write_bytes(gzip.decompress(packed))
    return folder


def settings(source: str, folder: Path | None = None) -> dict:
    return {"source": source, "folder": None, "data_dir": None if folder is None else str(folder)}


def test_given_files_are_taken_packed_or_unpacked(publish, data_dir):
    publish(unused_address())
    expected = {
        "train-images-idx3-ubyte.gz": [(data_dir / "train-images-idx3-ubyte.gz",)],
        "train-labels-idx1-ubyte.gz": [(data_dir / "train-labels-idx1-ubyte",)],
        "t10k-images-idx3-ubyte.gz": [(data_dir / "t10k-images-idx3-ubyte.gz",)],
        "t10k-labels-idx1-ubyte.gz": [(data_dir / "t10k-labels-idx1-ubyte",)],
    }
    assert downloads.given("mnist", data_dir) == expected
    assert downloads.locate(settings("mnist", data_dir)) == expected
    # they are the rule's inputs; what comes from the cache is not, since it need not be there when a run is planned
    assert sources.image_files(settings("mnist", data_dir)) == [str(path) for ((path,),) in expected.values()]
    assert sources.image_files(settings("mnist")) == []


def named_with_dots(folder: Path) -> Path:
    for path in folder.iterdir():
        path.rename(path.with_name(path.name.replace("-idx", ".idx")))
    return folder


def where_torchvision_puts_them(folder: Path) -> Path:
    (folder.parent / "root/MNIST").mkdir(parents=True)
    folder.rename(folder.parent / "root/MNIST/raw")
    return folder.parent / "root"


@pytest.mark.parametrize("place", [named_with_dots, where_torchvision_puts_them])
def test_files_named_and_placed_by_other_tools_are_taken(publish, data_dir, place, monkeypatch):
    publish(unused_address())
    expected = dataset.build(settings("mnist", data_dir)).checksum
    assert dataset.build(settings("mnist", place(data_dir))).checksum == expected
    monkeypatch.setenv("HOME", str(data_dir.parent))
    assert not data_dir.exists() or dataset.build(settings("mnist", Path("~/given"))).checksum == expected


@pytest.mark.parametrize("sound", ["packed", "unpacked"])
def test_of_a_damaged_and_a_sound_file_the_sound_one_is_taken(publish, data_dir, sound, caplog):
    publish(unused_address())
    expected = dataset.build(settings("mnist", data_dir)).checksum
    content = {"packed": SOUND, "unpacked": gzip.decompress(SOUND)}
    damaged = {name: each if name == sound else each[: len(each) // 2] for name, each in content.items()}
    (data_dir / FIRST).write_bytes(damaged["packed"])
    (data_dir / FIRST.removesuffix(".gz")).write_bytes(damaged["unpacked"])
    assert dataset.build(settings("mnist", data_dir)).checksum == expected
    assert ("Another file with the same content" in caplog.text) == (sound == "unpacked")


def test_missing_files_are_all_named(publish, data_dir):
    publish(unused_address())
    (data_dir / "train-labels-idx1-ubyte").unlink()
    (data_dir / "t10k-images-idx3-ubyte.gz").unlink()
    (data_dir / "t10k-images-idx3-ubyte").mkdir()
    message = (
        r"given: lacks train-labels-idx1-ubyte\.gz, t10k-images-idx3-ubyte\.gz; expected the files of mnist: train"
    )
    with pytest.raises(ValueError, match=message):
        downloads.given("mnist", data_dir)
    with pytest.raises(ValueError, match=message):
        dataset.build(settings("mnist", data_dir))


@pytest.mark.parametrize("name", ["nothing", "x" * 5000, "nul\0"])
def test_a_folder_that_is_not_there_is_refused(publish, tmp_path, name):
    with pytest.raises(ValueError, match=r": no such folder; expected one with the files of fashion_mnist: train-im"):
        downloads.given("fashion_mnist", tmp_path / name)


def test_a_given_file_of_another_set_is_refused_by_its_checksum(publish, data_dir):
    publish(unused_address())
    (data_dir / FIRST).write_bytes(made_part("train", [0] * 8, seed=5)[1][FIRST])
    with pytest.raises(ValueError, match=rf"given/{FIRST}: expected the MD5 .*another set of images"):
        dataset.build(settings("mnist", data_dir))


# ---------------------------------------------------------------- the image sets


def test_a_collection_becomes_an_image_set(publish, data_dir):
    publish(unused_address())
    made = dataset.build(settings("mnist", data_dir))
    assert (made.name, made.shape, made.classes) == ("mnist", (2, 3, 1), ("0", "1", "2"))
    images = values_of(TRAIN_FILES[FIRST]).reshape(8, 6)
    # labels 2 0 1 1 0 2 2 1: two images of class 0, so the first two of every class
    kept = images[[1, 4, 2, 3, 0, 5]]
    assert made.train_labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert torch.equal(made.train_images, torch.from_numpy(kept.astype(np.float32)) / 255)
    held_out = values_of(TEST_FILES["t10k-images-idx3-ubyte.gz"]).reshape(4, 6)[[2, 3, 0, 1]]  # labels 1 2 0 0
    assert made.test_labels.tolist() == [0, 0, 1, 2]
    assert torch.equal(made.test_images, torch.from_numpy(held_out.astype(np.float32)) / 255)
    assert made.mean == pytest.approx(images.mean() / 255) and made.std == pytest.approx(images.std() / 255)
    pixels_and_labels = b"".join(values_of(packed).tobytes() for packed in FILES.values())
    assert made.checksum == hashlib.sha256(pixels_and_labels).hexdigest()


def test_fetched_and_given_files_make_the_same_set(serve, publish, cache, data_dir):
    server = serve()
    server.answers = dict(FILES)
    publish(server)
    fetched, taken = dataset.build(settings("mnist")), dataset.build(settings("mnist", data_dir))
    for name, value in vars(fetched).items():
        other = getattr(taken, name)
        assert torch.equal(value, other) if torch.is_tensor(value) else value == other, name


def test_a_whole_collection_is_split_by_class_and_always_the_same(publish, tmp_path):
    publish(unused_address())
    for name, packed in WHOLE_FILES.items():
        (tmp_path / name).write_bytes(packed)
    made, again = (dataset.build(settings("mnist10k", tmp_path)) for _ in range(2))
    assert made.name == "mnist10k"
    assert made.counts("train").tolist() == [16] * 3 and made.counts("test").tolist() == [4] * 3
    rows = [
        bytes((images * 255).round().byte().flatten().tolist()) for images in (*made.train_images, *made.test_images)
    ]
    assert sorted(rows) == sorted(row.tobytes() for row in values_of(WHOLE_FILES["t10k-images-idx3-ubyte.gz"]))
    assert len(set(rows)) == 60
    assert torch.equal(made.train_images, again.train_images) and torch.equal(made.test_images, again.test_images)
