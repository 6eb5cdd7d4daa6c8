"""Broken and hostile files for make.py. Each must be refused with a message (`must: refuse`) or be read as said; none may run code, crash or take much memory."""
import collections, io, json, os, pickle, struct, zipfile
from tiny_models import *
from safetensors.torch import load_file

TINY = dict(depths=[1, 1, 1, 1], dims=[2, 3, 4, 5], num_classes=3)


class Storage:
    """What a torch pickle's persistent id stands for, with a number of elements of its own choice."""

    def __init__(self, key, count):
        self.id = ("storage", torch.FloatStorage, key, "cpu", count)


class View:
    def __init__(self, storage, offset, size, stride):
        self.args = (storage, offset, size, stride, False, collections.OrderedDict())

    def __reduce__(self):
        return torch._utils._rebuild_tensor_v2, self.args


class Call:
    def __init__(self, function, *args):
        self.call = function, args

    def __reduce__(self):
        return self.call


class Pickler(pickle.Pickler):
    def persistent_id(self, obj):
        return obj.id if isinstance(obj, Storage) else None


def pickled(obj):
    buffer = io.BytesIO()
    Pickler(buffer, protocol=2).dump(obj)
    return buffer.getvalue()


def torch_zip(path, data, storages, byteorder=b"little"):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as z:
        for name, content in [("data.pkl", data), ("byteorder", byteorder), *[(f"data/{k}", v) for k, v in storages.items()], ("version", b"3\n")]:
            if content is not None:
                z.writestr(f"archive/{name}", content)


def safetensors_bytes(header, data):
    text = header if isinstance(header, bytes) else json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + data


def make(c):
    folder = c.folder / "broken"
    folder.mkdir(exist_ok=True)
    model = official_classifier(2, TINY["dims"], 60, TINY["num_classes"], TINY["depths"])
    good = model.state_dict()

    def add(file, why, must="refuse"):
        """Notes too what the reference readers make of the file (they run no code from it: weights_only)."""
        path = folder / file
        try:
            load_file(path) if file.endswith(".safetensors") else torch.load(path, weights_only=True)
            said = "loads"
        except Exception as e:
            said = f"{type(e).__name__}: {str(e).strip().splitlines()[0][:110]}" if str(e).strip() else type(e).__name__
        c.broken.append(dict(file=f"broken/{file}", why=why, must=must, reference=said.replace(str(folder), "broken")))

    def views(byteorder="<", count=15, data=None, size=(3, 5), stride=(5, 1), **beside):
        """The good weights as hand-made views of storage 0, but for head.weight, which has storage 1 of `count` numbers to itself."""
        raw = {k: v.numpy().astype(byteorder + "f4").tobytes() for k, v in good.items()}
        tensors, pool = collections.OrderedDict(), b""
        total = sum(v.numel() for v in good.values())
        for k, v in good.items():
            tensors[k] = View(Storage("0", total), len(pool) // 4, tuple(v.shape), v.stride())
            pool += raw[k]
        tensors["head.weight"] = View(Storage("1", count), 0, size, stride)
        return pickled({"model": tensors, **beside}), {"0": pool, "1": raw["head.weight"] if data is None else data}

    torch_zip(folder / "code_in_model.pth", pickled({"model": Call(os.system, "touch cvx_ran_a_pickle")}), {})
    add("code_in_model.pth", "the entry 'model' is a call of os.system")
    torch_zip(folder / "code_at_root.pth", pickled(Call(os.getcwd)), {})
    add("code_at_root.pth", "the whole pickle is one call of a function that is not torch's")
    (folder / "code_no_zip.pth").write_bytes(pickled({"model": Call(os.system, "touch cvx_ran_a_pickle")}))
    add("code_no_zip.pth", "a plain pickle (no zip) with a call of os.system")
    torch_zip(folder / "code_beside_model.pth", *views(args=Call(os.system, "touch cvx_ran_a_pickle")))
    add("code_beside_model.pth", "good weights, and beside them a call of os.system under 'args'", "refuse, or read the weights and never run the call")

    whole = io.BytesIO()
    torch.save({"model": good}, whole)
    whole = whole.getvalue()
    (folder / "truncated.pth").write_bytes(whole[: len(whole) // 2])
    add("truncated.pth", "the first half of a good file: no zip directory")
    data, storages = views()
    torch_zip(folder / "no_data_pkl.pth", None, storages)
    add("no_data_pkl.pth", "a zip of storages without data.pkl")
    torch_zip(folder / "storage_missing.pth", data, {k: v for k, v in storages.items() if k != "1"})
    add("storage_missing.pth", "data.pkl refers to a storage that the zip does not hold")
    torch_zip(folder / "storage_short.pth", data, {k: v[:4] if k == "1" else v for k, v in storages.items()})
    add("storage_short.pth", "the bytes of one storage are fewer than data.pkl says")
    torch_zip(folder / "tensor_beyond_storage.pth", *views(count=4, data=bytes(16)))
    add("tensor_beyond_storage.pth", "head.weight claims (3,5) over a storage of 4 numbers")
    torch_zip(folder / "huge_expand.pth", *views(count=1, data=bytes(4), size=(1 << 20, 1 << 20), stride=(0, 0)))
    add("huge_expand.pth", "head.weight is one number expanded (stride 0) to 2^40: 4 TiB once copied")
    torch_zip(folder / "expand_classes.pth", *views(count=1, data=bytes(4), size=(1 << 28, 5), stride=(0, 0)))
    add("expand_classes.pth", "head.weight is one number expanded to 2^28 classes: 5 GB once copied, and as many names")
    torch_zip(folder / "shape_overflow.pth", *views(count=1, data=bytes(4), size=(1 << 33, 1 << 33), stride=(0, 0)))
    add("shape_overflow.pth", "as huge_expand.pth with a shape whose product is beyond 64 bits")
    torch_zip(folder / "byteorder_big.pth", *views(">"), byteorder=b"big")
    add("byteorder_big.pth", "byteorder is 'big' and the numbers are stored so", "refuse, or swap the bytes; never take them as little-endian")
    torch_zip(folder / "byteorder_unknown.pth", data, storages, byteorder=b"middle")
    add("byteorder_unknown.pth", "byteorder is neither little nor big")
    nest = 16000
    torch_zip(folder / "deep_nesting.pth", b"\x80\x02" + b"]" * nest + b"a" * (nest - 1) + b".", {})
    add("deep_nesting.pth", f"data.pkl is {nest} lists one in the other: a recursive reader overflows its stack")
    laughs = b"\x80\x02]q\x00" + b"".join(b"h" + bytes([i]) + b"h" + bytes([i]) + b"\x86q" + bytes([i + 1]) for i in range(60)) + b"."
    torch_zip(folder / "billion_laughs.pth", laughs, {})
    add("billion_laughs.pth", "data.pkl is a pair of a pair of ... of the same object, 60 deep: 2^60 objects once copied")

    (folder / "header_beyond_file.safetensors").write_bytes(struct.pack("<Q", 1 << 40) + b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}' + bytes(4))
    add("header_beyond_file.safetensors", "the header's length is beyond the end of the file")
    entry = lambda shape, a, b: dict(dtype="F32", shape=shape, data_offsets=[a, b])
    for name, why, header, size in (
            ("overlap", "two tensors share bytes", {"downsample_layers.0.0.bias": entry([4], 0, 16), "downsample_layers.0.1.bias": entry([4], 8, 24)}, 24),
            ("beyond_data", "offsets reach beyond the end of the file", {"downsample_layers.0.0.bias": entry([400], 0, 1600)}, 16),
            ("shape_overflow", "a shape whose product is beyond 64 bits", {"downsample_layers.0.0.weight": entry([1 << 33, 1 << 33], 0, 16)}, 16),
            ("offsets_mismatch", "the bytes between the offsets are fewer than the shape needs", {"downsample_layers.0.0.bias": entry([8], 0, 16)}, 16),
            ("offsets_reversed", "the end lies before the begin", {"downsample_layers.0.0.bias": entry([4], 16, 0)}, 16),
            ("unknown_dtype", "a dtype that does not exist", {"downsample_layers.0.0.bias": dict(dtype="F33", shape=[4], data_offsets=[0, 16])}, 16)):
        (folder / f"{name}.safetensors").write_bytes(safetensors_bytes(header, bytes(size)))
        add(f"{name}.safetensors", why)
    twice = b'{"a.bias":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"a.bias":{"dtype":"F32","shape":[2],"data_offsets":[8,16]}}'
    (folder / "duplicate_keys.safetensors").write_bytes(safetensors_bytes(twice, bytes(16)))
    add("duplicate_keys.safetensors", "one name twice in the header")

    bad = {k: v.clone() for k, v in good.items()}
    bad["stages.2.0.pwconv1.weight"][1, 2] = float("nan")
    save_file(bad, folder / "nan.safetensors", metadata={"format": "pt"})
    torch.save({"model": bad}, folder / "nan.pth")
    for file in ("nan.safetensors", "nan.pth"):
        add(file, "a good V2 classifier (depths 1,1,1,1, dims 2,3,4,5, 3 classes) but for one NaN in stages.2.0.pwconv1.weight[1][2]", "refuse and name the tensor")
    missing = {k: v for k, v in good.items() if k != "stages.1.0.grn.beta"}
    save_file(missing, folder / "missing.safetensors", metadata={"format": "pt"})
    add("missing.safetensors", "the same classifier without stages.1.0.grn.beta", "refuse and name the tensor")

    (folder / "html.pth").write_text("<!DOCTYPE html>\n<html><head><title>403 Forbidden</title></head><body><h1>Forbidden</h1><p>You don't have permission to access this resource.</p></body></html>\n")
    add("html.pth", "an error page that was saved under a weight file's name")
    for file in ("empty.pth", "empty.safetensors"):
        (folder / file).write_bytes(b"")
        add(file, "an empty file")
    (folder / "lfs_pointer.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\nsize 114561200\n")
    add("lfs_pointer.safetensors", "the pointer that git leaves without git-lfs")
