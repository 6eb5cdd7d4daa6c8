"""Makes small files of every published ConvNeXt checkpoint format, with the libraries' own save functions: python make.py OUT_DIR

Weights are random (seeded), nothing is downloaded. Needs torch 2.15.0, torchvision 0.29.2, timm 1.0.31, transformers 5.23.0,
safetensors 0.8.0, mmengine 0.10.7, mmcv-lite 2.1.0, mmdet 3.3.0, mmsegmentation 1.2.2 (the mm packages with `pip --no-deps`, plus addict,
yapf, scipy, shapely, pycocotools, matplotlib, terminaltables, rich, termcolor, einops, modelindex, prettytable, six, ftfy, regex,
importlib-metadata, mat4py), fvcore, iopath, omegaconf, hydra-core, cloudpickle, tabulate and opencv-python-headless; and in the
folder named by the variable CVX_SOURCES the trees `convnextv2` (facebookresearch/ConvNeXt-V2 @2553895), `convnext`
(facebookresearch/ConvNeXt @048efce), `mmpretrain` (open-mmlab/mmpretrain @ee7f2e8) and `detectron2` (facebookresearch/detectron2 @02b5c4e).

make.py makes the classifiers and backbones, make_dense.py detectors and segmentors, make_broken.py the broken and hostile files.
"""
import argparse, shutil, sys, tempfile
from tiny_models import *

V2, V1 = "facebookresearch/ConvNeXt-V2 @2553895", "facebookresearch/ConvNeXt @048efce"


def official_files(c):
    def expect(model, **more):
        return dict(stage=official_stages(model, c.input), logits=model(c.input), **more)

    dims = [4, 5, 6, 8]
    m = official_classifier(2, dims, 1)
    torch.save({"model": m.state_dict()}, c.folder / "official_v2.pt")
    c.add("official_v2.pt", f"{V2}, torch.save", "released V2 classifier: {'model': state dict}", "official", "classifier", 2, dims, expect(m), 5)
    torch.save({"model": m.state_dict()}, c.folder / "official_v2_legacy.pth", _use_new_zipfile_serialization=False)
    c.add("official_v2_legacy.pth", f"{V2}, torch.save(_use_new_zipfile_serialization=False)", "the weights of official_v2.pt in the pickle format before PyTorch 1.6 (no zip)",
          "official", "classifier", 2, dims, expect(m), 5, container="legacy pickle")

    views = {}
    for k, v in m.state_dict().items():         # the same numbers in other memory orders
        if v.ndim == 4 and "grn" not in k:
            v = v.contiguous(memory_format=torch.channels_last)
        elif v.ndim == 2:
            v = v.t().contiguous().t()
        elif "norm" in k:
            v = torch.cat([torch.full((3,), 7.0), v])[3:]
        views[k] = v
    torch.save({"model": views}, c.folder / "official_v2_strided.pt")
    c.add("official_v2_strided.pt", f"{V2}, torch.save", "the weights of official_v2.pt with convolutions in channels_last, transposed linear weights and norms that begin within their storage",
          "official", "classifier", 2, dims, expect(m), 5)

    dims, depths = [4, 4, 5, 6], [1, 1, 1, 1]
    m = official_classifier(2, dims, 2, depths=depths)
    from timm.utils import ModelEma
    ema = ModelEma(m, decay=0.5)
    scaler = torch.amp.GradScaler("cpu", enabled=True)
    optimizer = train(m, c.input, ema=ema)
    args = argparse.Namespace(
        batch_size=32, epochs=300, update_freq=4, model="convnextv2_tiny", input_size=224, drop_path=0.2, layer_decay_type="single", model_ema=True,
        model_ema_decay=0.9999, clip_grad=None, weight_decay=0.05, lr=3.2e-3, blr=8e-4, layer_decay=0.9, min_lr=1e-6, warmup_epochs=40, opt="adamw",
        opt_eps=1e-8, opt_betas=None, aa="rand-m9-mstd0.5-inc1", smoothing=0.1, reprob=0.25, mixup=0.8, cutmix=1.0, cutmix_minmax=None, finetune="",
        head_init_scale=0.001, data_path="/data/imagenet", nb_classes=5, output_dir="out", log_dir=None, device="cuda", seed=0, auto_resume=True,
        save_ckpt=True, start_epoch=0, num_workers=10, pin_mem=True, world_size=8, local_rank=-1, distributed=True, gpu=0, use_amp=True)
    torch.save({"model": m.state_dict(), "optimizer": optimizer.state_dict(), "epoch": 299, "scaler": scaler.state_dict(), "args": args,
                "model_ema": ema.ema.state_dict()}, c.folder / "official_v2_training.pth")
    m.eval(); ema.ema.eval()
    c.add("official_v2_training.pth", f"{V2}, as utils.save_model", "training checkpoint with AdamW state, args (argparse.Namespace) and averaged weights that differ from the model's",
          "official", "classifier", 2, dims, expect(m, **{"ema.stage": official_stages(ema.ema, c.input), "ema.logits": ema.ema(c.input)}), 5, depths=depths,
          outputs={"ema.logits": "class scores of the weights under 'model_ema'", "ema.stage": "raw stage output of the weights under 'model_ema'"})

    dims = [4, 6, 7, 8]
    m = official_classifier(2, dims, 3, num_classes=21)
    torch.save({"model": m.state_dict()}, c.folder / "official_v2_22k.pt")
    c.add("official_v2_22k.pt", f"{V2}, torch.save", "as the 22K models: the layout of the 1K models with a wider head (21 stands for 21841)", "official", "classifier", 2, dims, expect(m), 21)

    m = official_classifier(2, dims, 4)
    bare = {k: v for k, v in m.state_dict().items() if not k.startswith(("norm.", "head."))}
    torch.save({"model": bare}, c.folder / "official_v2_fcmae.pt")
    c.add("official_v2_fcmae.pt", f"{V2}, torch.save", "released FCMAE encoder: dense official names, no final norm and no head", "official", "fcmae", 2, dims, dict(stage=official_stages(m, c.input)))

    dims = [4, 5, 6, 8]
    m = official_classifier(1, dims, 5)
    torch.save({"model": m.state_dict()}, c.folder / "official_v1.pth")
    c.add("official_v1.pth", f"{V1}, torch.save", "released V1 classifier: {'model': state dict}", "official", "classifier", 1, dims, expect(m), 5)
    flat = {k: v for k, v in m.state_dict().items() if not k.startswith("head.")} | {f"norms.3.{k}": m.norm.state_dict()[k] for k in ("weight", "bias")}
    torch.save(flat, c.folder / "official_dinov3.pth")
    c.add("official_dinov3.pth", f"{V1}, torch.save", "DINOv3's own ConvNeXt files: flat official names, no head, the final norm a second time as norms.3 (names written by hand, see timm's checkpoint_filter_fn)",
          "official", "backbone", 1, dims, dict(stage=official_stages(m, c.input), features=m.forward_features(c.input)), outputs=dict(features="mean over positions, then the final norm"))

    for name, dtype in (("fp16", torch.float16), ("bf16", torch.bfloat16)):
        m = official_classifier(2, [3, 5, 6, 8], 6)
        torch.save({"model": {k: v.to(dtype) for k, v in m.state_dict().items()}}, c.folder / f"official_v2_{name}.pt")
        m.load_state_dict({k: v.to(dtype).float() for k, v in m.state_dict().items()})
        c.add(f"official_v2_{name}.pt", f"{V2}, torch.save", f"V2 classifier stored as {dtype}; expected: the rounded weights computed in float32", "official", "classifier", 2, [3, 5, 6, 8], expect(m), 5, dtype=name)


def sparse_file(c):
    """The inverse of models/utils.py remap_checkpoint_keys on a dense encoder, with the other parts of main_pretrain's checkpoint."""
    dims, width = [4, 5, 6, 8], 2
    m = official_classifier(2, dims, 7)
    block = randomize(official(2).Block(width), 8)
    sd = {"mask_token": 0.02 * torch.randn(1, width, 1, 1)}
    for k, v in m.state_dict().items():
        if k.startswith(("norm.", "head.")):
            continue
        part, leaf = k.rsplit(".", 1)
        kind = part.split(".")[-1]
        if not k.startswith("downsample_layers.0."):
            if v.ndim == 4 and "grn" not in k:            # (out,in,k,k) -> (k*k,in,out), x fastest in the other order; depthwise (k*k,dim)
                v, leaf = v.transpose(2, 3).reshape(v.shape[0], v.shape[1], -1).permute(2, 1, 0), "kernel"
                v = v.squeeze(1) if kind == "dwconv" else v
            elif "grn" in k:
                v = v.reshape(1, -1)
            elif kind == "norm" or part.startswith("downsample_layers") and kind == "0":
                part += ".ln"
            elif kind.startswith("pwconv"):
                part += ".linear"
            elif leaf == "bias":
                v = v.reshape(1, -1)
        sd[f"encoder.{part}.{leaf}"] = v.clone().contiguous()
    sd |= {"proj.weight": torch.randn(width, dims[3], 1, 1) / 4, "proj.bias": torch.randn(width) / 10}
    sd |= {f"decoder.0.{k}": v for k, v in block.state_dict().items()} | {"pred.weight": torch.randn(3072, width, 1, 1) / 4, "pred.bias": torch.randn(3072) / 10}
    optimizer = torch.optim.AdamW([dict(params=[torch.nn.Parameter(v) for v in sd.values() if v.ndim == 1], weight_decay=0.0)], lr=1e-4, betas=(0.9, 0.95))
    torch.save({"model": sd, "optimizer": optimizer.state_dict(), "epoch": 799, "scaler": {}, "args": argparse.Namespace(model="convnextv2_atto", mask_ratio=0.6, norm_pix_loss=True)},
               c.folder / "fcmae_minkowski_training.pth")
    c.add("fcmae_minkowski_training.pth", f"{V2}, names and shapes of models/fcmae.py on MinkowskiEngine", "FCMAE training checkpoint: encoder.*.kernel/.ln/.linear, biases (1,C), decoder; expected: the dense encoder, no mask",
          "minkowski", "fcmae", 2, dims, dict(stage=official_stages(m, c.input)), head=dict(decoder_embed_dim=width, decoder_depth=1, patch_size=32))


def timm_files(c):
    import timm
    from timm.models._hub import save_for_hf
    from timm.models.convnext import ConvNeXt
    from timm.utils import CheckpointSaver, ModelEmaV3
    lib = f"timm {timm.__version__}"

    def build(dims, seed, version, **more):
        kind = dict(use_grn=True, ls_init_value=None) if version == 2 else dict(ls_init_value=1e-6)
        return randomize(ConvNeXt(dims=dims, **{**dict(num_classes=5, depths=DEPTHS), **kind, **more}), seed)

    def stages(m):
        x, out = m.stem(c.input), []
        for s in m.stages:
            x = s(x); out.append(x)
        return out

    def expect(m):
        return dict(stage=stages(m), logits=m(c.input))

    dims = [4, 6, 8, 12]
    for version, seed in ((1, 11), (2, 12)):
        m = build(dims, seed, version)
        save_file(m.state_dict(), c.folder / f"timm_v{version}.safetensors", metadata={"format": "pt"})
        c.add(f"timm_v{version}.safetensors", f"{lib} and safetensors save_file", f"flat V{version} state dict, 2-D fc", "timm", "classifier", version, dims, expect(m), 5)
    dims = [4, 6, 7, 8]
    m = build(dims, 13, 2)
    torch.save(m.state_dict(), c.folder / "timm_v2_flat.bin")
    c.add("timm_v2_flat.bin", f"{lib}, torch.save", "flat V2 state dict as a pickle", "timm", "classifier", 2, dims, expect(m), 5)
    for version, seed in ((1, 14), (2, 15)):
        m = build(dims, seed, version, conv_mlp=True)
        save_file(m.state_dict(), c.folder / f"timm_v{version}_convmlp.safetensors", metadata={"format": "pt"})
        c.add(f"timm_v{version}_convmlp.safetensors", f"{lib} and safetensors save_file", f"V{version} with conv_mlp: fc weights (out,in,1,1), as timm's atto to nano", "timm", "classifier", version, dims, expect(m), 5)
    m = build(dims, 16, 1, num_classes=0)
    save_file(m.state_dict(), c.folder / "timm_v1_dinov3.safetensors", metadata={"format": "pt"})
    c.add("timm_v1_dinov3.safetensors", f"{lib} and safetensors save_file", "as convnext_*.dinov3_lvd1689m: num_classes 0, head.norm kept, no head.fc", "timm", "backbone", 1, dims,
          dict(stage=stages(m), features=m(c.input)), outputs=dict(features="mean over positions, then head.norm"))

    dims, depths = [4, 4, 5, 6], [1, 1, 1, 1]
    m = build(dims, 17, 2, depths=depths)
    ema = ModelEmaV3(m, decay=0.5)
    optimizer = train(m, c.input, ema=ema)
    with tempfile.TemporaryDirectory() as tmp:
        args = argparse.Namespace(model="convnextv2_atto", lr=0.02, opt="adamw", epochs=300, amp=False)
        CheckpointSaver(m, optimizer, args=args, model_ema=ema, checkpoint_dir=tmp, recovery_dir=tmp).save_checkpoint(7, metric=61.5)
        shutil.copy(f"{tmp}/checkpoint-7.pth.tar", c.folder / "timm_v2_training.pth.tar")
    m.eval(); ema.module.eval()
    c.add("timm_v2_training.pth.tar", f"{lib}, timm.utils.CheckpointSaver", "training checkpoint: epoch, arch, optimizer, version, args, state_dict, state_dict_ema (differ), metric", "timm", "classifier", 2, dims,
          expect(m) | {"ema.stage": stages(ema.module), "ema.logits": ema.module(c.input)}, 5, depths=depths,
          outputs={"ema.logits": "class scores of state_dict_ema", "ema.stage": "raw stage output of state_dict_ema"})
    m = randomize(timm.create_model("convnextv2_nano", num_classes=5, depths=DEPTHS, dims=[3, 5, 6, 8]), 18)
    save_for_hf(m, c.folder / "timm_hub_v2", safe_serialization=True, model_config=dict(label_names=CLASSES))
    c.add("timm_hub_v2", f"{lib}, save_for_hf", "folder as on the hub: config.json (architecture, pretrained_cfg, model_args, label_names) and model.safetensors; nano, so conv_mlp", "timm", "classifier", 2, [3, 5, 6, 8], expect(m), 5)


def hugging_face_files(c):
    import transformers as tf
    lib = f"transformers {tf.__version__} save_pretrained"
    labels = dict(id2label=dict(enumerate(CLASSES)), label2id={k: i for i, k in enumerate(CLASSES)})

    def save(m, folder, **processor):
        m.save_pretrained(c.folder / folder)
        if processor:
            tf.ConvNextImageProcessor(**processor).save_pretrained(c.folder / folder)

    def hidden(m):
        h = m(c.input, output_hidden_states=True).hidden_states
        return [t for t in h[-4:]]

    def final_eps(m):
        return m.config.layer_norm_eps

    for version, Config, Cls, Base, Backbone in (
            (2, tf.ConvNextV2Config, tf.ConvNextV2ForImageClassification, tf.ConvNextV2Model, tf.ConvNextV2Backbone),
            (1, tf.ConvNextConfig, tf.ConvNextForImageClassification, tf.ConvNextModel, tf.ConvNextBackbone)):
        dims = [4, 6, 8, 12]
        m = randomize(Cls(Config(depths=DEPTHS, hidden_sizes=dims, **labels)), 20 + version)
        save(m, f"hf_v{version}_cls", size=dict(shortest_edge=384), crop_pct=0.875, image_mean=[0.485, 0.456, 0.406], image_std=[0.229, 0.224, 0.225])
        c.add(f"hf_v{version}_cls", lib, f"{Cls.__name__} with id2label and preprocessor_config.json", "hugging-face", "classifier", version, dims, dict(stage=hidden(m), logits=m(c.input).logits), 5, final_norm_eps=final_eps(m))
        if version == 2:
            dims = [4, 6, 7, 8]
            m = randomize(Cls(Config(depths=DEPTHS, hidden_sizes=dims, **labels)), 24)
            save(m, "hf_v2_cls_bin", size=dict(shortest_edge=224), crop_pct=0.875)      # mean and std 0.5, the class's defaults
            (c.folder / "hf_v2_cls_bin/model.safetensors").unlink()
            torch.save(m.state_dict(), c.folder / "hf_v2_cls_bin/pytorch_model.bin")
            c.add("hf_v2_cls_bin", f"{lib}, torch.save", "ConvNextV2ForImageClassification with pytorch_model.bin instead of safetensors", "hugging-face", "classifier", 2, dims, dict(stage=hidden(m), logits=m(c.input).logits), 5, final_norm_eps=final_eps(m))
            m = randomize(Base(Config(depths=DEPTHS, hidden_sizes=dims)), 25)
            save(m, "hf_v2_model")
            c.add("hf_v2_model", lib, "ConvNextV2Model: no prefix, final layernorm, no classifier", "hugging-face", "backbone", 2, dims, dict(stage=hidden(m), features=m(c.input).pooler_output),
                  outputs=dict(features="mean over positions, then layernorm"), final_norm_eps=final_eps(m))
        dims = [5, 6, 8, 10]
        m = randomize(Backbone(Config(depths=DEPTHS, hidden_sizes=dims, out_features=["stage1", "stage2", "stage3", "stage4"])), 26 + version)
        save(m, f"hf_v{version}_backbone")
        c.add(f"hf_v{version}_backbone", lib, f"{Backbone.__name__} with hidden_states_norms.stage1..4", "hugging-face", "backbone", version, dims, dict(out=m(c.input).feature_maps))

    dims = [4, 5, 6, 8]
    m = randomize(tf.DINOv3ConvNextModel(tf.DINOv3ConvNextConfig(depths=DEPTHS, hidden_sizes=dims)), 29)
    save(m, "hf_dinov3")
    expected = dict(stage=list(m(c.input, output_hidden_states=True).hidden_states[-4:]), features=m(c.input).pooler_output)
    said = dict(features="mean over positions, then layer_norm")
    c.add("hf_dinov3", lib, "DINOv3ConvNextModel: stages... (save_pretrained drops the model. of the module in memory, as the published files), layer_norm", "dinov3", "backbone", 1, dims, expected, outputs=said, final_norm_eps=m.config.layer_norm_eps)
    (c.folder / "hf_dinov3_bin").mkdir(exist_ok=True)
    torch.save(m.state_dict(), c.folder / "hf_dinov3_bin/pytorch_model.bin")
    shutil.copy(c.folder / "hf_dinov3/config.json", c.folder / "hf_dinov3_bin/config.json")
    c.add("hf_dinov3_bin", f"{lib.split(' save')[0]}, torch.save", "the names of the module in memory: model.stages..., layer_norm; same weights as hf_dinov3", "dinov3", "backbone", 1, dims, expected, outputs=said, final_norm_eps=m.config.layer_norm_eps)
    m = randomize(tf.DINOv3ConvNextBackbone(tf.DINOv3ConvNextConfig(depths=DEPTHS, hidden_sizes=dims, out_features=["stage1", "stage2", "stage3", "stage4"])), 30)
    save(m, "hf_dinov3_backbone")
    c.add("hf_dinov3_backbone", lib, "DINOv3ConvNextBackbone: no final norm and no output norms", "dinov3", "backbone", 1, dims, dict(stage=m(c.input).feature_maps))


def torchvision_files(c):
    import torchvision
    from torchvision.models.convnext import CNBlockConfig, ConvNeXt
    dims = [4, 5, 6, 8]
    m = randomize(ConvNeXt([CNBlockConfig(a, b, n) for a, b, n in zip(dims, dims[1:] + [None], DEPTHS)], num_classes=5), 31)
    torch.save(m.state_dict(), c.folder / "torchvision_v1.pth")
    x, stages = c.input, []
    for i, part in enumerate(m.features):
        x = part(x)
        if i % 2:
            stages.append(x)
    c.add("torchvision_v1.pth", f"torchvision {torchvision.__version__}, torch.save", "flat state dict; features.i, block.0/2/3/5, layer_scale (C,1,1), classifier.0/2", "torchvision", "classifier", 1, dims, dict(stage=stages, logits=m(c.input)), 5)


if __name__ == "__main__":
    import importlib.metadata as im
    torch.manual_seed(SEED)
    c = Collection(sys.argv[1])
    c.versions = {p: im.version(p) for p in ("torch", "torchvision", "timm", "transformers", "safetensors", "mmengine", "mmcv-lite", "mmdet", "mmsegmentation", "numpy")}
    c.versions |= {"python": sys.version.split()[0], "convnextv2": "@2553895", "convnext": "@048efce", "mmpretrain": "1.2.0 @ee7f2e8", "detectron2": "0.6 @02b5c4e"}
    with torch.no_grad():
        for part in (sparse_file, hugging_face_files, torchvision_files):
            part(c)
    with torch.enable_grad():
        for part in (official_files, timm_files):
            part(c)
    if "--no-dense" not in sys.argv:
        import make_dense
        make_dense.make(c)
    import make_broken
    make_broken.make(c)
    c.write()
    print(len(c.files), "files,", len(c.broken), "broken,", sum(f.stat().st_size for f in c.folder.rglob("*") if f.is_file()), "bytes")
