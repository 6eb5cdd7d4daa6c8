//! Checkpoint files: whole or refused with the reason, whatever happened to the disk.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use burn::module::{Module, Param};
use burn::nn::{Linear, LinearConfig};
use burn::tensor::{Device, Tensor};
use cvx_tools::train::atomic_file;
use cvx_tools::train::checkpoint::{self, Checkpoint, Position};
use cvx_tools::train::run_folder::Start;

use crate::toy::{description, generator, toy, train, trainer};

/// Shares no parameter with the toy.
#[derive(Module, Debug)]
struct OneScalar {
    weight: Param<Tensor<2>>,
}

/// A checkpoint of the toy with optimizer state, and its path.
fn saved(folder: &Path) -> PathBuf {
    let run = folder.join("run");
    train(trainer(&run, Start::Fresh, 1).expect("a run"), |position| position.step == 2).expect("trains");
    run.join("checkpoints/last.safetensors")
}

#[test]
fn an_unfinished_temporary_file_changes_nothing_and_is_replaced() {
    let _turn = generator();
    let folder = tempfile::tempdir().expect("a folder");
    let path = saved(folder.path());
    let before = fs::read(&path).expect("a file");
    // What a process killed in the middle of writing leaves.
    let temporary = atomic_file::temporary_path(&path).expect("a path");
    fs::write(&temporary, &before[..before.len() / 2]).expect("half a file");
    let checkpoint = Checkpoint::open(&path).expect("the old one");
    let model = checkpoint.load_model(toy(&Device::flex(), 5)).expect("whole");
    checkpoint::save(&path, &model, None, &description(), &checkpoint.position).expect("saves");
    assert!(!temporary.exists());
    assert!(!Checkpoint::open(&path).expect("the new one").has_optimizer());
}

#[test]
#[cfg(unix)]
fn a_full_disk_leaves_the_older_checkpoint() {
    const PATH: &str = "CVX_TEST_FULL_DISK";
    if let Some(path) = std::env::var_os(PATH) {
        // The child, which may write no file above the limit.
        let path = PathBuf::from(path);
        let large = toy(&Device::flex(), 5000);
        let error = checkpoint::save(&path, &large, None, &description(), &Position::default());
        let error = format!("{:#}", error.expect_err("a limit"));
        assert!(error.contains("last.safetensors could not be written, and stays as it was"), "{error}");
        let temporary = atomic_file::temporary_path(&path).expect("a path");
        assert!(!temporary.exists());
        return;
    }
    let _turn = generator();
    let folder = tempfile::tempdir().expect("a folder");
    let path = saved(folder.path());
    let before = fs::read(&path).expect("a file");
    let name = "checkpoints::a_full_disk_leaves_the_older_checkpoint";
    let test = std::env::current_exe().expect("a path");
    // `ulimit -f` counts blocks of 512 bytes; with its signal ignored a write beyond it fails, as on a full disk.
    let limited = "trap '' XFSZ; ulimit -f 32; exec \"$0\" --exact \"$1\"";
    let child = Command::new("sh").args(["-c", limited]).arg(test).arg(name).env(PATH, &path).output();
    let child = child.expect("a child");
    assert!(child.status.success(), "{}", String::from_utf8_lossy(&child.stdout));
    assert_eq!(fs::read(&path).expect("a file"), before);
}

#[test]
fn a_checkpoint_of_another_architecture_is_refused_by_name() {
    let _turn = generator();
    let folder = tempfile::tempdir().expect("a folder");
    let path = saved(folder.path());
    let checkpoint = Checkpoint::open(&path).expect("a checkpoint");
    let error = checkpoint.load_model(toy(&Device::flex(), 6)).expect_err("wider").to_string();
    assert!(error.contains("3 of 4 parameters differ"), "{error}");
    assert!(error.contains("`first.weight` is [6, 5], expected [6, 6]"), "{error}");
    let one = OneScalar { weight: Param::from_data([[1.0_f32]], &Device::flex()) };
    let error = checkpoint.load_model(one).expect_err("another").to_string();
    assert!(error.contains("`weight` [1, 1] is missing"), "{error}");
    assert!(error.contains("`second.bias` [1] is not in the model"), "{error}");
}

#[test]
fn a_long_list_of_differences_is_cut() {
    let _turn = generator();
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("many.safetensors");
    let device = Device::flex();
    let many: Vec<Linear> = (0..8).map(|_| LinearConfig::new(2, 2).init(&device)).collect();
    checkpoint::save(&path, &many, None, &description(), &Position::default()).expect("saves");
    let error =
        Checkpoint::open(&path).expect("opens").load_model(toy(&device, 5)).expect_err("toy").to_string();
    assert!(error.contains("20 of 20 parameters differ") && error.contains("and 10 more"), "{error}");
}

#[test]
fn a_checkpoint_without_optimizer_cannot_be_resumed_from() {
    let _turn = generator();
    let folder = tempfile::tempdir().expect("a folder");
    let path = saved(folder.path());
    let model = toy(&Device::flex(), 5);
    checkpoint::save(&path, &model, None, &description(), &Position::default()).expect("saves");
    let error = trainer(&folder.path().join("run"), Start::Resume, 1).expect_err("no optimizer").to_string();
    assert!(error.contains("has no optimizer"), "{error}");
}

#[test]
fn damaged_checkpoints_are_refused_with_the_reason() {
    let _turn = generator();
    let folder = tempfile::tempdir().expect("a folder");
    let path = saved(folder.path());
    let good = fs::read(&path).expect("a file");
    let header_bytes = u64::from_le_bytes(good[..8].try_into().expect("eight")) as usize;
    let data = 8 + header_bytes;
    let header = String::from_utf8(good[8..data].to_vec()).expect("text");
    let with_header = |header: &str| {
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend(header.as_bytes());
        bytes.extend(&good[data..]);
        bytes
    };
    let mut not_a_number = good.clone();
    let middle = data + 4;
    not_a_number[middle..middle + 4].copy_from_slice(&f32::NAN.to_le_bytes());
    let overlapping = header.replacen("\"data_offsets\":[0,", "\"data_offsets\":[4,", 1);
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        ("empty", Vec::new(), "it has 0 bytes"),
        ("cut in the header", good[..data / 2].to_vec(), "its header claims"),
        ("cut in the data", good[..good.len() - 3].to_vec(), "was cut off or extended"),
        ("longer", [good.clone(), vec![0; 5]].concat(), "was cut off or extended"),
        ("a header beyond the file", [vec![255; 8], good[8..].to_vec()].concat(), "its header claims"),
        ("text", b"this is no checkpoint at all, but a text".to_vec(), "its header claims"),
        ("no JSON", with_header(&header.replacen('{', "[", 1)), "its safetensors header is broken"),
        ("overlapping offsets", with_header(&overlapping), "its safetensors header is broken"),
        ("foreign", with_header(&header.replacen("\"cvx\":", "\"pt\":", 1)), "no entry `cvx`"),
        ("newer", with_header(&header.replacen("\\\"version\\\":1", "\\\"version\\\":9", 1)), "version 9"),
        ("another number type", with_header(&header.replace("\"F32\"", "\"I32\"")), "holds I32"),
        ("not a number", not_a_number, "holds NaN at value 1 of"),
    ];
    for (what, bytes, expected) in cases {
        fs::write(&path, bytes).expect("a file");
        let resumed = trainer(&folder.path().join("run"), Start::Resume, 1);
        let error = format!("{:#}", resumed.expect_err(what));
        assert!(error.contains("last.safetensors"), "{what}: {error}");
        assert!(error.contains(expected), "{what}: {error}");
    }
    fs::write(&path, good).expect("a file");
    trainer(&folder.path().join("run"), Start::Resume, 1).expect("the good one");
}
