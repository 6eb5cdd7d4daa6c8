"""What the fixture scripts share: random parameters, the reference sources, and the collection of expected tensors."""
import importlib, importlib.machinery, json, os, pathlib, sys, types, warnings

warnings.filterwarnings("ignore")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
import numpy as np, torch
from safetensors.torch import save_file

torch.set_num_threads(1)
SEED = 70100
SOURCES = pathlib.Path(os.environ.get("CVX_SOURCES", "sources"))
DEPTHS = [1, 1, 2, 1]
CLASSES = ["bolt", "nut", "gear", "spring", "washer"]
PALETTE = [[220, 20, 60], [119, 11, 32], [0, 0, 142], [0, 0, 230], [106, 0, 228]]


def randomize(module, seed):
    """Gives every parameter and every running statistic a random value that no initialiser would give."""
    g = torch.Generator().manual_seed(SEED + seed)
    for name, p in module.named_parameters():
        r, leaf = torch.randn(p.shape, generator=g), name.split(".")[-1]
        if "grn" in name:
            v = 0.2 + 0.4 * r
        elif leaf in ("gamma", "layer_scale", "layer_scale_parameter"):
            v = 0.3 + 0.7 * torch.rand(p.shape, generator=g)
        elif p.ndim == 1 and leaf == "weight":
            v = 1 + 0.2 * r
        elif p.ndim <= 1 or leaf == "bias":
            v = 0.1 * r
        else:
            v = r / (p.numel() / p.shape[0]) ** 0.5
        p.data.copy_(v)
    for name, b in module.named_buffers():
        if name.endswith("running_mean"):
            b.copy_(0.3 * torch.randn(b.shape, generator=g))
        elif name.endswith("running_var"):
            b.copy_(0.5 + torch.rand(b.shape, generator=g))
        elif name.endswith("num_batches_tracked"):
            b.fill_(40 + seed)
    module.eval()
    return module


def train(model, x, steps=2, groups=None, ema=None):
    """Some real AdamW steps; returns the optimizer with its state."""
    if groups is None:
        decay = [p for n, p in model.named_parameters() if p.ndim > 1 and not n.endswith((".gamma", ".beta"))]
        rest = [p for n, p in model.named_parameters() if not (p.ndim > 1 and not n.endswith((".gamma", ".beta")))]
        groups = [dict(params=decay, weight_decay=0.05, lr_scale=1.0), dict(params=rest, weight_decay=0.0, lr_scale=1.0)]
    optimizer = torch.optim.AdamW(groups, lr=0.02, betas=(0.9, 0.999))
    for _ in range(steps):
        optimizer.zero_grad()
        (model(x) - 1).square().mean().backward()
        optimizer.step()
        if ema is not None:
            ema.update(model)
    return optimizer


def stub(name, **attributes):
    sys.modules[name] = types.ModuleType(name)
    sys.modules[name].__dict__.update(attributes)
    return sys.modules[name]


def official(version):
    """The module models/convnext[v2].py of facebookresearch/ConvNeXt or ConvNeXt-V2."""
    if "MinkowskiEngine" not in sys.modules:
        stub("MinkowskiEngine", SparseTensor=None)
    package = f"official_v{version}"
    if package not in sys.modules:
        stub(package).__path__ = [str(SOURCES / ("convnextv2" if version == 2 else "convnext") / "models")]
    return importlib.import_module(f"{package}.{'convnextv2' if version == 2 else 'convnext'}")


def official_classifier(version, dims, seed, num_classes=5, depths=DEPTHS):
    module = official(version)
    cls = module.ConvNeXtV2 if version == 2 else module.ConvNeXt
    return randomize(cls(num_classes=num_classes, depths=depths, dims=dims), seed)


def official_stages(model, x):
    out = []
    for down, stage in zip(model.downsample_layers, model.stages):
        x = stage(down(x))
        out.append(x)
    return out


class Collection:
    """The files made so far, what they hold and what the model in each of them computes on the shared input."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.input = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(SEED))
        np.save(self.folder / "input.npy", self.input.numpy())
        self.files, self.broken, self.expected, self.versions = [], [], {}, {}

    def add(self, file, library, what, format, task, version, dims, expected, num_classes=None, head=None, depths=DEPTHS, outputs=None, **more):
        """`expected` maps a name (or a prefix of numbered names, with a list) to tensors; `outputs` says what they are."""
        stem, said = file.split(".")[0], {}
        for name, value in expected.items():
            many = isinstance(value, (list, tuple))
            for i, t in enumerate(value if many else [value]):
                key = f"{stem}.{name}{i if many else ''}"
                assert torch.isfinite(t.float()).all(), key
                self.expected[key] = t.detach().clone().contiguous()
                base = name.split(".")[-1]
                said[key] = (outputs or {}).get(name) or dict(
                    stage="raw output of a stage, no output norm", out="output of a stage after its output norm",
                    logits="class scores", fpn="FPN level").get(base, base)
        assert (self.folder / file).exists(), file
        scaled = more.pop("layer_scale", version == 1)
        self.files.append(dict(file=file, library=library, what=what, format=format, task=task, version=version, depths=depths, dims=dims,
                               num_classes=num_classes, layer_scale=scaled, head=head, outputs=said, **more))

    def write(self):
        save_file(self.expected, self.folder / "expected.safetensors")
        head = dict(kind="formats", script="make.py", versions=self.versions, seed=SEED, input="input.npy", expected="expected.safetensors", classes=CLASSES)
        for f in self.folder.rglob("*.safetensors"):
            f.chmod(0o644)
        lines = [f" {json.dumps(k)}: {json.dumps(v)}" for k, v in head.items()]
        lines += [f' "{k}": [\n' + ",\n".join("  " + json.dumps(e) for e in v) + "\n ]" for k, v in (("files", self.files), ("broken", self.broken))]
        (self.folder / "meta.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")
