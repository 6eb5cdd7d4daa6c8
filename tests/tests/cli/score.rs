//! `cvx-det score`: every analysis on the command line, in JSON and in the report.

use std::fs;

use cvx_tests::project_root;
use cvx_tools::det;
use cvx_tools::exit::{Exit, Streams};
use serde_json::Value;

struct Said {
    exit: Exit,
    out: String,
    err: String,
}

fn score(args: &[&str]) -> Said {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let all = ["cvx-det", "score"].iter().chain(args);
    let exit = det::run(all, Streams { out: &mut out, err: &mut err });
    Said { exit, out: String::from_utf8(out).unwrap(), err: String::from_utf8(err).unwrap() }
}

fn fixture(name: &str) -> String {
    project_root().join("tests/fixtures/coco_val2014_100").join(name).to_string_lossy().into_owned()
}

#[test]
fn everything_that_can_be_asked_for_is_printed_and_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
    let truth = fixture("instances_val2014_100.json");
    let results = fixture("instances_val2014_fakesegm100_results.json");
    let (json, html) = (path("numbers.json"), path("report.html"));
    let asked = [
        "--type=segm",
        "--per-class",
        "--tide",
        "--confusion=0.3",
        "--thresholds",
        "--calibration",
        "--resamples=20",
    ];
    let files = [truth.as_str(), &results, "--compare", &results, "--json", &json, "--html", &html];
    let Said { exit, out, err } = score(&[&asked[..], &files].concat());
    assert_eq!(exit, Exit::Done, "{err}");
    for words in [
        "maxDets=100 ] = 0.320",
        "Masks, by class",
        "TIDE: what errors cost (comparable with tidecv 1.0.1",
        "Confusion: the most frequent errors (an extension",
        "Scores from which F1 is best",
        "Calibration",
        "second is better",
    ] {
        assert!(out.contains(words), "{words} is not in\n{out}");
    }
    let numbers: Value = serde_json::from_str(&fs::read_to_string(&json).unwrap()).unwrap();
    assert_eq!(numbers["comparable_with"]["mask"], "pycocotools 2.0.11");
    assert_eq!(numbers["comparable_with"]["calibration"], Value::Null);
    assert!(numbers["tide"]["errors"]["Loc"]["dap"].as_f64().unwrap() > 0.0);
    // The same file on both sides.
    assert_eq!(numbers["comparison"]["ap"]["difference"], 0.0);
    assert_eq!(numbers["comparison"]["ap"]["second_is_better"], 0.5);
    assert_eq!(numbers["confusion"]["counts"].as_array().unwrap().len(), 81);
    let report = fs::read_to_string(&html).unwrap();
    assert!(report.starts_with("<!doctype html>") && report.matches("<polyline").count() == 5, "{report}");
    assert!(!report.contains("http://") && !report.contains("https://"), "it needs nothing from elsewhere");

    // Twice the same, to the byte.
    let first = fs::read(&json).unwrap();
    score(&[&asked[..], &files].concat());
    assert_eq!(fs::read(&json).unwrap(), first);
}

#[test]
fn classes_are_listed_only_when_asked_for_and_the_best_first() {
    let args = [fixture("instances_val2014_100.json"), fixture("instances_val2014_fakebbox100_results.json")];
    let args = args.each_ref().map(String::as_str);
    assert!(!score(&args).out.contains("by class"));
    let out = score(&[&args[..], &["--per-class"]].concat()).out;
    let aps: Vec<f64> = out
        .lines()
        .skip_while(|line| !line.contains("category"))
        .skip(1)
        .map(|line| line.split_whitespace().rev().nth(6).unwrap().parse().unwrap())
        .collect();
    assert!(aps.len() == 80 && aps.is_sorted_by(|a, b| a >= b), "{out}");
}

#[test]
fn the_worst_images_are_shown_with_what_was_missed() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
    image::RgbImage::from_pixel(60, 40, image::Rgb([9, 90, 200])).save(path("a b&.png")).unwrap();
    let truth = r#"{"images": [{"id": 1, "width": 60, "height": 40, "file_name": "a b&.png"}],
        "categories": [{"id": 1, "name": "<cat>"}], "annotations": [
        {"id": 1, "image_id": 1, "category_id": 1, "bbox": [5, 5, 20, 20], "area": 400, "iscrowd": 0}]}"#;
    fs::write(path("gt.json"), truth).unwrap();
    let results = r#"[{"image_id": 1, "category_id": 1, "bbox": [30, 5, 20, 20], "score": 0.9}]"#;
    fs::write(path("dt.json"), results).unwrap();
    let (gt, dt, html) = (path("gt.json"), path("dt.json"), path("report.html"));
    let images = folder.path().to_string_lossy().into_owned();
    let Said { exit, err, .. } = score(&[&gt, &dt, "--html", &html, "--images", &images]);
    assert_eq!(exit, Exit::Done, "{err}");
    let report = fs::read_to_string(&html).unwrap();
    assert!(report.contains("data:image/jpeg;base64,/9j/"), "{report}");
    assert!(report.contains("a b&amp;.png: 1 of 1 objects missed, 1 false alarms"));
    assert!(report.contains("&lt;cat&gt; 0.90") && !report.contains("<cat>"));

    let Said { exit, err, .. } = score(&[&gt, &dt, "--html", &html, "--images", &path("none")]);
    assert!(exit == Exit::BadInput && err.contains("a b&.png"), "{err}");
}

#[test]
fn lvis_and_panoptic_files_are_asked_to_be_such() {
    let truth = fixture("instances_val2014_100.json");
    let results = fixture("instances_val2014_fakebbox100_results.json");
    let Said { exit, err, .. } = score(&[&truth, &results, "--lvis"]);
    assert!(exit == Exit::BadInput && err.contains("no category has a `frequency`"), "{err}");
    let Said { exit, err, .. } = score(&[&truth, &results, "--type=panoptic"]);
    assert!(exit == Exit::BadInput && err.contains("instances_val2014_100.json"), "{err}");
}

#[test]
fn panoptic_files_are_scored_with_their_maps() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
    // The ids are red + 256 green: 300 is (44, 1, 0).
    let map = |name: &str, columns: u32| {
        fs::create_dir_all(path(name)).unwrap();
        let pixel = |x, _| if x < columns { image::Rgb([44, 1, 0]) } else { image::Rgb([0, 0, 0]) };
        image::RgbImage::from_fn(10, 4, pixel).save(path(&format!("{name}/1.png"))).unwrap();
    };
    map("gt", 8);
    map("dt", 6);
    let file = |area: u32| {
        format!(
            r#"{{"categories": [{{"id": 7, "name": "sky", "isthing": 0}}], "annotations": [{{"image_id": 1, "file_name": "1.png",
            "segments_info": [{{"id": 300, "category_id": 7, "iscrowd": 0, "area": {area}}}]}}]}}"#
        )
    };
    fs::write(path("gt.json"), file(32)).unwrap();
    fs::write(path("dt.json"), file(24)).unwrap();
    let json = path("numbers.json");
    let Said { exit, out, err } =
        score(&[&path("gt.json"), &path("dt.json"), "--type=panoptic", "--per-class", "--json", &json]);
    assert_eq!(exit, Exit::Done, "{err}");
    assert!(out.contains("All       |  75.0   75.0  100.0     1") && out.contains("sky"), "{out}");
    let numbers: Value = serde_json::from_str(&fs::read_to_string(&json).unwrap()).unwrap();
    assert_eq!(numbers["panoptic/pq_stuff"], 0.75);

    fs::write(path("dt.json"), file(24).replace("\"id\": 300", "\"id\": 301")).unwrap();
    let Said { exit, err, .. } = score(&[&path("gt.json"), &path("dt.json"), "--type=panoptic"]);
    assert_eq!(exit, Exit::BadInput);
    assert!(err.contains("dt.json: image 1: segment 300 is in the map and not in the list"), "{err}");
}
