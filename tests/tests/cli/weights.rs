//! Published weights where a user names them: in a recipe, after `--weights`, and in `convert`; and files that are none.

use std::fs;
use std::path::PathBuf;

use cvx_tests::project_root;
use cvx_tools::det::Streams;
use cvx_tools::exit::Exit;
use cvx_tools::pretrain;
use serde_json::{Value, json};

use crate::{Outcome, Project, annotation};

fn formats() -> PathBuf {
    project_root().join("tests/golden/formats")
}

fn format(name: &str) -> String {
    formats().join(name).display().to_string()
}

/// What is said of a file of the formats.
fn entry(name: &str) -> Value {
    let meta: Value = serde_json::from_slice(&fs::read(formats().join("meta.json")).unwrap()).unwrap();
    let entries = meta["files"].as_array().unwrap();
    entries.iter().find(|entry| entry["file"] == name).unwrap_or_else(|| panic!("no {name}")).clone()
}

/// The change of a recipe that makes its backbone that of a file of V2.
fn backbone_of(name: &str) -> String {
    let Value::Object(entry) = entry(name) else { panic!("an entry") };
    let (depths, dims) = (&entry["depths"], &entry["dims"]);
    format!("--set=model.backbone={{ custom = {{ version = \"v2\", depths = {depths}, dims = {dims} }} }}")
}

/// The changes that make its network that of a detector of mmdet's, but for its classes.
fn detector_of(name: &str) -> Vec<String> {
    let head = &entry(name)["head"];
    let width = |what: &str| head[what].as_u64().unwrap();
    let entries = [
        format!("fpn_channels={}", width("fpn_channels")),
        format!("fc_channels={}", width("fc_channels")),
        format!("mask_channels={}", width("mask_channels")),
        "num_mask_convs=4".to_owned(),
        "rpn.anchor_scales=[8.0]".to_owned(),
    ];
    let heads = entries.map(|entry| format!("--set=head.mask-rcnn.{entry}"));
    [vec![backbone_of(name)], heads.to_vec()].concat()
}

fn convert(project: &Project, arguments: &[&str]) -> Outcome {
    let arguments = ["cvx-pretrain", "convert"].iter().chain(arguments);
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let exit = pretrain::run(arguments, Streams { out: &mut out, err: &mut err });
    let clean = |bytes| String::from_utf8(bytes).unwrap().replace(&project.text(""), "[TMP]/");
    Outcome { exit, out: clean(out), err: clean(err) }
}

#[test]
fn a_recipe_starts_from_any_published_backbone_and_says_what_it_took() {
    let project = Project::new();
    let init = format!("--set=model.init={{ backbone = \"{}\" }}", format("official_v2.pt"));
    let network = &backbone_of("official_v2.pt");
    let Outcome { exit, out, err } = project.command("train", &[network, &init, "--set=train.epochs=1"]);
    assert_eq!(exit, Exit::Done, "{err}");
    for line in [
        "names of the official repository, with a classifier of 5 classes\n",
        "weights     66 of 74 parameters are the file's\n",
        "weights     afresh, since such files have none: backbone.norm0, backbone.norm1, backbone.norm2, backbone.norm3\n",
        "weights     left out: 4 tensors of its classifier\n",
    ] {
        assert!(out.contains(line), "{line} is not in\n{out}");
    }
    let Outcome { exit, out, .. } = project.command("check", &[network, &init]);
    assert_eq!(exit, Exit::Done);
    assert!(out.contains("weights: 66 of 74 parameters are the file's\n"), "{out}");
}

#[test]
fn a_backbone_that_does_not_fit_is_refused_by_name_unless_the_recipe_is_lenient() {
    let project = Project::new();
    let file = format("official_v2.pt");
    let network = &backbone_of("official_v2.pt").replace("[1,1,2,1]", "[1,1,2,2]");
    let channels = entry("official_v2.pt")["dims"][3].as_u64().unwrap();
    let init = |strict: bool| {
        format!("--set=model.init={{ backbone = {{ file = \"{file}\", strict = {strict} }} }}")
    };
    let Outcome { exit, err, .. } = project.command("train", &[network, &init(true)]);
    assert_eq!(exit, Exit::BadInput);
    for part in [
        "official_v2.pt does not fit the recipe's network: it holds ConvNeXt V2, depths [1, 1, 2, 1], dims",
        &format!(
            "missing: `stages.3.1.dwconv.weight` [{channels}, 1, 7, 7], `stages.3.1.dwconv.bias` [{channels}],"
        ),
        "with `strict = false` beside the file's name such parameters are drawn from the seed",
    ] {
        assert!(err.contains(part), "{part} is not in\n{err}");
    }
    let Outcome { exit, out, err } =
        project.command("train", &[network, &init(false), "--set=train.epochs=1"]);
    assert_eq!(exit, Exit::Done, "{err}");
    assert!(out.contains("weights     missing: `stages.3.1.dwconv.weight`"), "{out}");

    let typo = format!("--set=model.init={{ backbone = {{ file = \"{file}\", strikt = true }} }}");
    let Outcome { exit, err, .. } = project.command("train", &[network, &typo]);
    assert_eq!(exit, Exit::BadInput);
    assert!(err.contains("unknown entry `strikt`, expected one of `file`, `strict`, `key`"), "{err}");
}

#[test]
fn a_detector_with_other_classes_gets_new_last_layers_and_says_so() {
    let project = Project::new();
    let init = format!("--set=model.init={{ detector = \"{}\" }}", format("mmdet3_maskrcnn_v2.pth"));
    let detector = detector_of("mmdet3_maskrcnn_v2.pth");
    let detector: Vec<&str> = detector.iter().map(String::as_str).collect();
    let sets = [&detector[..], &[&init, "--set=train.epochs=1"]].concat();
    let Outcome { exit, out, err } = project.command("train", &sets);
    assert_eq!(exit, Exit::Done, "{err}");
    for line in [
        "weights     100 of 106 parameters are the file's\n",
        "afresh, since the file has other classes: heads.bbox_head.fc_cls, heads.bbox_head.fc_reg, heads.mask_head.conv_logits\n",
    ] {
        assert!(out.contains(line), "{line} is not in\n{out}");
    }

    // The same from a checkpoint of this program.
    let ours = project.text("ours.safetensors");
    let Outcome { exit, err, .. } = convert(&project, &[&format("mmdet3_maskrcnn_v2.pth"), &ours]);
    assert_eq!(exit, Exit::Done, "{err}");
    let init = format!("--set=model.init={{ detector = \"{ours}\" }}");
    let elsewhere = format!("--set=run.folder={}", project.text("second"));
    let sets = [&detector[..], &[&init, &elsewhere, "--set=train.epochs=1"]].concat();
    let Outcome { exit, out, err } = project.command("train", &sets);
    assert_eq!(exit, Exit::Done, "{err}");
    assert!(out.contains("a checkpoint of cvx; 100 of 106 parameters are the file's"), "{out}");
    assert!(out.contains("other classes: heads.bbox_head.fc_cls.weight"), "{out}");
}

#[test]
fn published_detectors_are_evaluated_and_predict_as_they_are() {
    let project = Project::new();
    let mut truth = crate::truth();
    let names = ["bolt", "nut", "gear", "spring", "washer"];
    truth["categories"] = names.iter().zip(1..).map(|(name, id)| json!({"id": id, "name": name})).collect();
    truth["annotations"] = json!([annotation(1, 1, 3), annotation(2, 2, 5)]);
    project.write_truth(&truth);
    let weights = format!("--weights={}", format("mmdet3_maskrcnn_v2.pth"));
    let detector = detector_of("mmdet3_maskrcnn_v2.pth");
    let detector: Vec<&str> = detector.iter().map(String::as_str).collect();
    let sets = [&detector[..], &["--set=head.mask-rcnn.num_classes=5", &weights]].concat();
    let Outcome { exit, out, err } = project.command("eval", &sets);
    assert_eq!(exit, Exit::Done, "{err}");
    assert!(out.contains("Average Precision"), "{out}");
    assert!(err.contains("106 of 106 parameters are the file's"), "{err}");

    // What the same shapes would compute otherwise is refused, as with a checkpoint of ours.
    for (set, told) in [
        (
            "head.mask-rcnn.rpn.anchor_scales=[4.0]",
            "`head.mask-rcnn.rpn.anchor_scales` = [8.0], but the recipe has [4.0]",
        ),
        (
            "input.mean=[0.0, 0.0, 0.0]",
            "`input.mean` = [123.675, 116.28, 103.53], but the recipe has [0.0, 0.0, 0.0]",
        ),
    ] {
        let set = format!("--set={set}");
        let Outcome { exit, err, .. } = project.command("eval", &[&sets[..], &[&set]].concat());
        assert_eq!(exit, Exit::BadInput);
        assert!(err.contains(&format!("was trained with {told}")), "{err}");
    }

    let [images, out_folder] = ["images", "out"].map(|name| project.text(name));
    let Outcome { exit, out, err } = project.run(&["predict", &weights, &images, "--out", &out_folder]);
    assert_eq!(exit, Exit::Done, "{err}");
    assert!(project.path("out/a.png").is_file() && out.contains("results.json"), "{out}");

    let weights = format!("--weights={}", format("official_v2.pt"));
    let Outcome { exit, err, .. } = project.run(&["predict", &weights, &images]);
    assert_eq!(exit, Exit::BadInput);
    assert!(err.ends_with("official_v2.pt: holds a model, but not of a detector\n"), "{err}");
}

#[test]
fn hostile_and_broken_files_are_refused_with_a_reason_and_leave_nothing() {
    let project = Project::new();
    let meta: Value = serde_json::from_slice(&fs::read(formats().join("meta.json")).unwrap()).unwrap();
    let broken = meta["broken"].as_array().unwrap();
    assert!(broken.len() >= 25);
    let out = project.text("out.safetensors");
    for entry in broken {
        let file = format(entry["file"].as_str().unwrap());
        let Outcome { exit, err, .. } = convert(&project, &[&file, &out]);
        let why = &entry["why"];
        assert_eq!(exit, Exit::BadInput, "{file}: {why}");
        assert!(err.starts_with("error: ") && err.contains(&file), "{err}");
        assert!(!err.contains("panic"), "{err}");
        let left: Vec<_> =
            fs::read_dir(project.path("")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        let is_output = |name: &std::ffi::OsString| name.to_string_lossy().contains("out.safetensors");
        assert!(!left.iter().any(is_output), "{file}: {left:?}");
    }
    for (name, reason) in [
        ("code_in_model.pth", "would call `posix.system`"),
        ("nan.pth", "`stages.2.0.pwconv1.weight` holds NaN"),
        ("missing.safetensors", "missing: `stages.1.0.grn.beta`"),
        ("html.pth", "a web page"),
        ("lfs_pointer.safetensors", "a Git LFS pointer"),
        ("empty.safetensors", "the file is empty"),
        ("truncated.pth", "no weights that can be read"),
    ] {
        let Outcome { err, .. } = convert(&project, &[&format(&format!("broken/{name}")), &out]);
        assert!(err.contains(reason), "{reason} is not in\n{err}");
    }
}

#[test]
fn convert_answers_what_it_cannot_do() {
    let project = Project::new();
    let input = format("official_v2.pt");
    let [out, pth, folder] = ["x.safetensors", "x.pth", "images"].map(|name| project.text(name));
    let cases: [(&[&str], &str); 7] = [
        (&[&input, &pth], "must end in `.safetensors`"),
        (&["nowhere.pth", &out], "nowhere.pth"),
        (&[&folder, &out], "the folder holds neither model.safetensors nor pytorch_model.bin"),
        (&[&input, &out, "--to", "onnx"], "possible values: cvx, official, timm, openmmlab"),
        (&[&input, &out, "--key", "teacher"], "has no weights under `teacher`, possible are `model`"),
        (
            &[&format("torchvision_maskrcnn_v1.pth"), &out],
            "`cvx-pretrain convert --backbone-only` takes that alone",
        ),
        (&[&input, &project.text("truth.json/x.safetensors")], "truth.json: cannot be created"),
    ];
    for (arguments, reason) in cases {
        let Outcome { exit, err, .. } = convert(&project, arguments);
        assert_eq!(exit, Exit::BadInput, "{arguments:?}");
        assert!(err.contains(reason), "{reason} is not in\n{err}");
    }
    let Outcome { exit, out, err } =
        convert(&project, &[&format("torchvision_maskrcnn_v1.pth"), &out, "--backbone-only"]);
    assert_eq!(exit, Exit::Done, "{err}");
    assert!(out.contains("of its heads\n") && out.ends_with("parameters -> [TMP]/x.safetensors\n"), "{out}");
    let Outcome { exit, out, .. } = convert(&project, &["--help"]);
    assert!(exit == Exit::Done && out.contains("--backbone-only"), "{out}");
}

/// Rewrites the header of a safetensors file.
fn change_header(path: &std::path::Path, change: impl Fn(String) -> String) {
    let bytes = fs::read(path).unwrap();
    let (length, rest) = bytes.split_first_chunk::<8>().unwrap();
    let (header, data) = rest.split_at(u64::from_le_bytes(*length) as usize);
    let header = change(String::from_utf8(header.to_vec()).unwrap());
    fs::write(path, [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), data].concat()).unwrap();
}

#[test]
fn a_checkpoint_whose_description_cannot_be_is_refused() {
    let project = Project::new();
    let (ours, images) = (project.text("ours.safetensors"), project.text("images"));
    // Quotes within the metadata's text are escaped.
    let cases = [
        (r#"\"depths\":[1,"#, r#"\"depths\":[1000000000,"#, "depths"),
        (r#"\"num_fcs\":2"#, r#"\"num_fcs\":1000000000"#, "num_fcs"),
        (r#"\"dims\":["#, r#"\"dims\":[0,"#, "a network that this program does not know"),
        (r#"\"pad_multiple\":32"#, r#"\"pad_multiple\":0"#, "pad_multiple"),
        (r#"\"short_side\":800"#, r#"\"short_side\":4000000000"#, "short_side"),
        (r#"\"mask_threshold\":0.5"#, r#"\"mask_threshold\":-1.0"#, "mask_threshold"),
        (r#"\"std\":[58"#, r#"\"std\":[-58"#, "input.std"),
        (r#"\"num_classes\":5"#, r#"\"num_classes\":6"#, "is damaged"),
    ];
    for (form, (from, to, reason)) in
        ["cvx", "openmmlab"].into_iter().flat_map(|form| cases.map(|case| (form, case)))
    {
        let arguments = [&format("mmdet3_maskrcnn_v2.pth"), &ours, "--to", form];
        let Outcome { exit, err, .. } = convert(&project, &arguments);
        assert_eq!(exit, Exit::Done, "{err}");
        change_header(&project.path("ours.safetensors"), |header| {
            assert!(header.contains(from), "{from} is not in {header}");
            header.replace(from, to)
        });
        let weights = format!("--weights={ours}");
        let Outcome { exit, err, .. } = project.run(&["predict", &weights, &images]);
        assert_eq!(exit, Exit::BadInput, "{form} {to}");
        assert!(
            err.contains(reason) || err.contains("damaged") || err.contains("another network"),
            "{to}: {err}"
        );
        let Outcome { exit, .. } = convert(&project, &[&ours, &project.text("again.safetensors")]);
        assert_eq!(exit, Exit::BadInput, "{form} {to}");
    }
}

#[test]
fn a_last_layer_that_fits_no_class_is_not_made_up() {
    let project = Project::new();
    let ours = project.text("ours.safetensors");
    let arguments = [&format("mmdet3_maskrcnn_v2.pth"), &ours, "--to", "openmmlab"];
    assert_eq!(convert(&project, &arguments).exit, Exit::Done);
    change_header(&project.path("ours.safetensors"), |header| {
        let mut header: Value = serde_json::from_str(&header).unwrap();
        // Without this program's own description the network is found out from the shapes.
        header["__metadata__"] = json!({ "format": "pt" });
        let weight = &mut header["roi_head.mask_head.conv_logits.weight"]["shape"];
        let channels = weight[0].as_u64().unwrap() * weight[1].as_u64().unwrap();
        *weight = json!([1, channels, 1, 1]);
        header.to_string()
    });
    let Outcome { exit, err, .. } = convert(&project, &[&ours, &project.text("again.safetensors")]);
    assert_eq!(exit, Exit::BadInput, "{err}");
    assert!(err.contains("of another shape: `roi_head.mask_head.conv_logits.weight`"), "{err}");
}
