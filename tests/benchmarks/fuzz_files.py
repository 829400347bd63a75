"""Hostile files: bundles, checkpoints, token stores and tokenizers are changed here and there, and their digests are
made right again, so that what is behind the digests is reached. Each must be refused, or work as a proper model does.

    python -m tests.benchmarks.fuzz_files --minutes 8

A case follows from its kind and number, and is run again by `--kind bundle --first 812 --cases 1`. A finding is an
error that is not ours, a warning, a probability that is none, a process that died, or one that took too long or too
much memory.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import math
import os
import random
import resource
import signal
import struct
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np

import seqmodel
from seqmodel.api.model import Model
from seqmodel.errors import SeqmodelError
from seqmodel.tokens.sentencepiece_proto import field
from seqmodel.tokens.store import HEADER_SIZE, MAGIC, open_store
from seqmodel.tokens.tokenizer import Tokenizer
from tests.cli.command import run_here
from tests.model.golden import RECIPES, golden

KINDS = ("bundle", "checkpoint", "store", "tokenizer")
SECONDS, MEMORY = 20, 6 << 30  # that a case may take
BATCH = 50  # cases of one process
LINES = ["cat dog", "", "\x00▁ é 日本 🙂", "far good hill into jam", "a" * 300]
ZEROS = "0" * 64
DEEP = 400

Change = Callable[[random.Random], None]


# What is changed


@dataclass
class Parts:
    """A file of ours in its parts: `arrays` by name (type, shape, bytes), and the metadata."""

    arrays: dict[str, tuple[str, list[int], bytes]]
    metadata: dict[str, Any]

    @classmethod
    def of(cls, data: bytes) -> Parts:
        begin = 8 + struct.unpack_from("<Q", data)[0]
        header = json.loads(data[8:begin])
        metadata = json.loads(header.pop("__metadata__")["seqmodel"])
        arrays = {
            name: (entry["dtype"], entry["shape"], data[begin:][slice(*entry["data_offsets"])])
            for name, entry in header.items()
        }
        return cls(arrays, {name: value for name, value in metadata.items() if not name.endswith("digest")})

    def sealed(self, random_: random.Random) -> bytes:
        """The file, now and then with a header that does not tell of these parts; its digests are right."""
        entries: dict[str, Any] = {}
        at = 0
        for name, (dtype, shape, data) in self.arrays.items():
            entries[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + len(data)]}
            at += len(data)
        text = json.dumps({"digest": ZEROS, "header_digest": ZEROS, **self.metadata}, separators=(",", ":"))
        if random_.random() < 0.05:
            change_tree(entries, random_)
        if random_.random() < 0.05:
            text = with_key_twice(text, self.metadata, random_)
        raw = json.dumps({"__metadata__": {"seqmodel": text}, **entries}, separators=(",", ":")).encode()
        if random_.random() < 0.05:
            keep = raw.index(ZEROS.encode(), raw.index(ZEROS.encode()) + 64) + 64
            raw = raw[:keep] + changed_bytes(raw[keep:], random_)
        raw += b" " * (-len(raw) % 8)
        head = struct.pack("<Q", len(raw)) + raw
        body = b"".join(data for _, _, data in self.arrays.values())
        whole = hashlib.sha256(head + body).hexdigest().encode()
        own = hashlib.sha256(head).hexdigest().encode()
        return head.replace(ZEROS.encode(), whole, 1).replace(ZEROS.encode(), own, 1) + body


def odd_value(old: Any, random_: random.Random) -> Any:
    """Another value, of another kind or out of range."""
    nested: Any = 1
    for _ in range(DEEP):
        nested = [nested]
    values: list[Any] = [None, True, False, -1, 0, 1, 2, 300, 1 << 20, 1 << 31, 1 << 63, -(1 << 63), 10**400]
    values += [0.5, -0.5, 1.5, 1e-320, 1e300, math.nan, math.inf, "", "x", "\x1b[31m", "../../x", "9" * 5000]
    values += [[], {}, [[]], {"a": 1}, nested]
    if isinstance(old, int | float) and not isinstance(old, bool):
        values += [old + 1, old - 1, old * 2, -old, old * (1 << 40)] * 3
    if isinstance(old, list) and old:
        values += [old[:-1], old + old[-1:], old[::-1], random_.sample(old, len(old)), old * 3] * 3
    return random_.choice(values)


def change_tree(tree: Any, random_: random.Random) -> None:
    """Change one value in nested objects and lists, in place."""
    inner = random_.choice(list(_containers(tree)))
    if not inner:
        return
    key = random_.choice(list(inner) if isinstance(inner, dict) else range(len(inner)))
    what = random_.random()
    if what < 0.1:
        del inner[key]
    elif what < 0.15 and isinstance(inner, dict):
        inner[random_.choice(["more", "", "x" * 300, "\x00"])] = odd_value(0, random_)
    else:
        inner[key] = odd_value(inner[key], random_)


def _containers(tree: Any) -> Iterator[Any]:
    if isinstance(tree, dict | list):
        yield tree
        for inner in tree.values() if isinstance(tree, dict) else tree:
            yield from _containers(inner)


def with_key_twice(text: str, tree: dict[str, Any], random_: random.Random) -> str:
    key = random_.choice(list(tree))
    return f"{text[:-1]},{json.dumps(key)}:{json.dumps(odd_value(tree[key], random_))}}}"


def changed_bytes(data: bytes, random_: random.Random) -> bytes:
    if not data:
        return b"\x00"
    out = bytearray(data)
    for _ in range(random_.choice([1, 1, 2, 8])):
        at, size = random_.randrange(len(out)), random_.choice([1, 1, 2, 4, 8, 64])
        what = random_.randrange(6)
        if what == 0:
            out[at] ^= 1 << random_.randrange(8)
        elif what == 1:
            out[at : at + size] = random_.randbytes(size)
        elif what == 2:
            out[at : at + size] = random_.choice([b"\x00", b"\xff", b"\x7f", b"\x80"]) * size
        elif what == 3 and len(out) > size:
            del out[at : at + size]
        elif what == 4:
            out[at:at] = random_.randbytes(size)
        else:
            other = random_.randrange(len(out))
            out[at : at + size], out[other : other + size] = out[other : other + size], out[at : at + size]
    return bytes(out)


SIZES = {"F64": 8, "I64": 8, "F32": 4, "I32": 4, "U32": 4, "F16": 2, "U16": 2, "U8": 1, "BOOL": 1}
EXTREMES = {
    "F16": (math.nan, math.inf, 65504.0, 6e-8, -65504.0),
    "F32": (math.nan, -math.inf, 3e38, 1e-45, -1e20, 1e10),
}


def change_array(parts: Parts, random_: random.Random) -> None:
    """Change one array, in its values, its type, its shape or its name."""
    name = random_.choice(list(parts.arrays))
    dtype, shape, data = parts.arrays[name]
    size = SIZES[dtype]
    items = [data[at : at + size] for at in range(0, len(data), size)]
    what = random_.randrange(12)
    if name == "tokenizer" and what < 8:
        parts.arrays[name] = _flat("U8", changed_proto(data, random_))
    elif what == 0:
        del parts.arrays[name]
    elif what == 1:
        parts.arrays[random_.choice(["more", "counts.9.keys", "ngrams.5.keys", "networks.3.x"])] = (dtype, shape, data)
    elif what == 2:
        parts.arrays[name] = (random_.choice([d for d in SIZES if SIZES[d] == size]), shape, data)
    elif what == 3:
        parts.arrays[name] = _flat(dtype, data)
    elif what == 4:
        other = random_.choice(list(parts.arrays))
        parts.arrays[name], parts.arrays[other] = parts.arrays[other], parts.arrays[name]
    elif what == 5 and items:
        parts.arrays[name] = _flat(dtype, b"".join(random_.choice([items[:-1], items + items[-1:], items[1:]])))
    elif what == 6 and items:
        parts.arrays[name] = (
            dtype,
            shape,
            b"".join(random_.choice([sorted(items), items[::-1], items[:1] * len(items)])),
        )
    elif what in (7, 8) and dtype in EXTREMES and items:
        value = np.array(random_.choice(EXTREMES[dtype]), "<f2" if dtype == "F16" else "<f4").tobytes()
        at = random_.randrange(len(items))
        many = random_.choice([1, len(items)])
        parts.arrays[name] = (dtype, shape, b"".join(items[:at] + [value] * many + items[at + many :])[: len(data)])
    elif items:
        other_bytes = bytearray(data)
        for _ in range(random_.choice([1, 3, 20])):
            other_bytes[random_.randrange(len(data))] = random_.choice([0, 1, 255, random_.randrange(256)])
        parts.arrays[name] = (dtype, shape, bytes(other_bytes))


def _flat(dtype: str, data: bytes) -> tuple[str, list[int], bytes]:
    return dtype, [len(data) // SIZES[dtype]], data


def changed_proto(proto: bytes, random_: random.Random) -> bytes:
    """A SentencePiece model with odd bytes, or with fields that ours never have."""
    what = random_.randrange(6)
    some = random_.randbytes(random_.randrange(40))
    charsmap = struct.pack("<I", random_.choice([0, 4, 16, len(some), 1 << 20, (1 << 32) - 1])) + some
    if what == 0:
        return proto + field(3, field(1, b"x") + field(2, charsmap) + field(3, random_.randrange(2)))
    if what == 1:
        number = random_.choice([3, 4, 24, 35, 36, 40, 41, 42, 43, 44])
        return proto + field(2, field(number, random_.choice([0, 1, 2, 3, 4, 5, 1 << 31, (1 << 64) - 1])))
    if what == 2:
        score = random_.choice([math.nan, math.inf, -1e38, 0.0, -3.0])
        return proto + field(1, field(1, some) + field(2, score) + field(3, random_.choice([1, 2, 3, 4, 5, 6, 99])))
    if what == 3:
        return proto + field(random_.choice([4, 5, 200]), field(2, charsmap))
    return changed_bytes(proto, random_)


def changed_parts(data: bytes, random_: random.Random) -> bytes:
    parts = Parts.of(data)
    for _ in range(random_.choice([1, 1, 1, 2, 3])):
        if random_.random() < 0.5:
            change_tree(parts.metadata, random_)
        else:
            change_array(parts, random_)
    return parts.sealed(random_)


def changed_store(data: bytes, random_: random.Random) -> bytes:
    head, body = data[len(MAGIC) : len(MAGIC) + HEADER_SIZE], data[len(MAGIC) + HEADER_SIZE :]
    fields = json.loads(head)
    if random_.random() < 0.5:
        change_tree(fields, random_)
    else:
        cut = random_.choice([fields["proto_bytes"], len(body) - 8 * fields["sequences"], 0])
        body = body[:cut] + changed_bytes(body[cut:], random_)
    fields["digest"] = ""
    text = json.dumps(fields, separators=(",", ":"))
    fields["digest"] = hashlib.sha256(text.encode() + hashlib.sha256(body).digest()).hexdigest()
    return MAGIC + json.dumps(fields, separators=(",", ":")).encode().ljust(HEADER_SIZE)[:HEADER_SIZE] + body


# What must hold


def use_bundle(path: Path) -> None:
    shown = run_here("info", path)
    assert shown.code in (0, 4) and "internal" not in shown.err and b"\x1b" not in shown.out, (shown.code, shown.err)
    model = seqmodel.load(path)
    ids = np.array([[1], [5], [260 % model.tokenizer.size], [5], [2 if model.header.model.ends else 1]])
    for lanes in (ids, np.repeat(ids, 3, axis=1), ids[:1]):
        logs, _ = model.runtime.step(lanes, model.runtime.start(lanes.shape[1]))
        np.testing.assert_allclose(np.exp(logs.astype(np.float64)).sum(-1), 1, atol=1e-3)
    rows = model.score(LINES, details=True)
    assert all(row.bits > -1e-3 for row in rows), [row.bits for row in rows]
    for sample in model.generate("", count=2, max_tokens=20, seed=1):
        assert sample.bits > -1e-3, sample
    _search(model)
    with contextlib.suppress(SeqmodelError):  # it may have no such figures
        assert all(math.isnan(model.percentile(row)) or 0 <= model.percentile(row) <= 100 for row in rows)
        _ = [model.worst_span(row) for row in rows]
    for option in ("--json", "--config"):
        shown = run_here("info", path, option)
        assert shown.code in (0, 4) and "internal" not in shown.err, shown.err


def _search(model: Model) -> None:
    for completion in model.complete("cat d", 2, effort=8):
        assert 0 <= completion.probability < 1.001, completion
    assert all(sample.bits > -1e-3 for sample in model.beam("c", 2, max_tokens=4))
    if model.fingerprint is not None:
        assert 0 <= model.fingerprint.false_positives <= 1
        with contextlib.suppress(SeqmodelError):  # it may find all that is drawn in the training text
            model.generate("", max_tokens=8, seed=1, max_copy=3)
    if model.header.model.ends:
        assert all(one.bits > -1e-3 for one in model.top(2, effort=16))


def use_store(path: Path) -> None:
    store = open_store(path)
    _use_tokenizer(store.tokenizer)
    assert store.bytes_per_token >= 0
    ends = np.asarray(store.ends)
    assert int(ends[-1]) == len(store.ids) and int(np.max(store.ids)) < store.tokenizer.size


def use_tokenizer(path: Path) -> None:
    for unit in ("subword", "word", "char"):
        _use_tokenizer(Tokenizer(path.read_bytes(), unit))


def _use_tokenizer(tokenizer: Tokenizer) -> None:
    for text in LINES:
        ids = tokenizer.encode(text)
        tokenizer.spans(ids)
        with contextlib.suppress(SeqmodelError):
            tokenizer.decode(ids)
    _ = [tokenizer.piece(token) for token in range(tokenizer.size)]


def use_checkpoint(path: Path, store: bytes) -> None:
    """Resume, go on for a step, and save."""
    from seqmodel.api.verbs import run_training
    from seqmodel.settings import CorpusSettings, NetworkSettings, TokenizerSettings, TrainingSettings
    from seqmodel.training.run.request import TrainingRequest
    from tests.training.test_resume import stop_after

    path.with_suffix(".tokens").write_bytes(store)
    output = path.with_suffix(".seqmodel")
    request = TrainingRequest(
        (), output, TokenizerSettings(), CorpusSettings(), NetworkSettings(), TrainingSettings(), resume=True
    )
    run_training(request, should_stop=stop_after(2))
    seqmodel.load(output).score(LINES)


# Cases


@cache
def originals(kind: str) -> list[bytes]:
    if kind in ("bundle", "tokenizer"):
        whole = [golden(name).read_bytes() for name in RECIPES]
        return whole if kind == "bundle" else [Parts.of(data).arrays["tokenizer"][2] for data in whole]
    with tempfile.TemporaryDirectory() as folder:
        output = interrupted_run(Path(folder))
        return [output.with_suffix({"store": ".tokens"}.get(kind, ".checkpoint")).read_bytes()]


@cache
def its_store() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        return interrupted_run(Path(folder)).with_suffix(".tokens").read_bytes()


def interrupted_run(folder: Path) -> Path:
    from seqmodel.api.verbs import run_training
    from tests.conftest import little_text
    from tests.training.test_resume import request, stop_after

    corpus, output = folder / "corpus.txt", folder / "m.seqmodel"
    corpus.write_text(little_text(40))
    small = {"width": 4, "layers": 1, "networks": 2}
    run_training(request(output, corpus, model=small, training={"threads": 1}), should_stop=stop_after(3))
    return output


CHANGES = {"bundle": changed_parts, "checkpoint": changed_parts, "store": changed_store, "tokenizer": changed_proto}


def case(kind: str, number: int) -> bytes:
    random_ = random.Random(f"{kind} {number}")
    return CHANGES[kind](random_.choice(originals(kind)), random_)


def uses(kind: str) -> Callable[[Path], None]:
    if kind == "checkpoint":
        return partial(use_checkpoint, store=its_store())
    return {"bundle": use_bundle, "store": use_store, "tokenizer": use_tokenizer}[kind]


def findings(kind: str, numbers: range) -> Iterator[str]:
    """What is wrong with some cases, each tried in a process that may die of it."""
    use = uses(kind)
    originals(kind)
    with tempfile.TemporaryDirectory() as folder:
        yield from _tried(kind, numbers, use, Path(folder))


def _tried(kind: str, numbers: range, use: Callable[[Path], None], folder: Path) -> Iterator[str]:
    while numbers:
        reader, writer = os.pipe()
        child = os.fork()
        if not child:
            os.close(reader)
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # SentencePiece tells what it thinks there
            _try(kind, numbers, use, folder, writer)
        os.close(writer)
        with open(reader, encoding="utf-8") as lines:
            told = lines.read().splitlines()
        _, status = os.waitpid(child, 0)
        yield from (line for line in told if not line.isdigit())
        begun = [int(line) for line in told if line.isdigit()]
        last = begun[-1] if begun else numbers[0]
        if status:
            yield f"{kind} {last}: the process died, status {status}"
        numbers = range(last + 1, numbers.stop)


def _try(kind: str, numbers: range, use: Callable[[Path], None], folder: Path, writer: int) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    for number in numbers:
        os.write(writer, f"{number}\n".encode())
        for left in folder.iterdir():
            left.unlink()
        path = folder / "m.checkpoint"
        path.write_bytes(case(kind, number))
        signal.alarm(SECONDS)
        finding = _finding(use, path)
        signal.alarm(0)
        if finding:
            os.write(writer, f"{kind} {number}: {finding}\n".encode())
    os._exit(0)


def _finding(use: Callable[[Path], None], path: Path) -> str:
    """What is wrong with the use of a file; empty if nothing is."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            use(path)
    except SeqmodelError as error:
        return "" if error.hint and len(error.message) < 400 else f"{error.message!r} {error.hint!r}"
    except BaseException as error:
        frames = traceback.extract_tb(error.__traceback__)
        ours = [frame for frame in frames if "/seqmodel/" in frame.filename] or list(frames)
        text = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        return f"{Path(ours[-1].filename).name}:{ours[-1].lineno} {ours[-1].name}: {text}"
    return ""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kind", choices=KINDS, action="append")
    parser.add_argument("--minutes", type=float, default=0.0)
    parser.add_argument("--cases", type=int, default=BATCH, help="of each kind")
    parser.add_argument("--first", type=int, default=0)
    given = parser.parse_args()
    end = time.monotonic() + 60 * given.minutes
    at, found, tried = given.first, 0, 0
    while tried < given.cases * (not given.minutes) or time.monotonic() < end:
        size = BATCH if given.minutes else min(BATCH, given.cases - tried)
        for kind in given.kind or KINDS:
            for finding in findings(kind, range(at, at + size)):
                found += 1
                print(finding, flush=True)
        at, tried = at + size, tried + size
    print(f"{tried:,} cases of each kind, {found} findings", file=sys.stderr)
    return int(found > 0)


if __name__ == "__main__":
    os.environ["OMP_NUM_THREADS"] = "1"
    raise SystemExit(main())
