//! `report`: a page about a run that needs nothing but itself.

use std::fs;
use std::path::Path;
use std::process::Command;

use cvx_tools::exit::Exit;

use crate::{Outcome, Project};

/// A browser without a window, where this machine has one.
fn browser() -> Option<&'static str> {
    let names = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];
    names.into_iter().find(|name| Command::new(name).arg("--version").output().is_ok())
}

/// Loads a page as a phone would, and returns what became of it.
fn dom(page: &Path) -> Option<String> {
    let browser = browser()?;
    let arguments = ["--headless", "--no-sandbox", "--disable-gpu", "--window-size=390,844", "--dump-dom"];
    let output = Command::new(browser).args(arguments).arg(page).output().unwrap();
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn a_run_becomes_one_page() {
    let project = Project::new();
    let Outcome { exit, err, out } = project.command("train", &["--set=train.epochs=1"]);
    assert_eq!(exit, Exit::Done, "{err}");
    // The summary ends with how to see more.
    assert!(out.contains("trained") && out.contains("look at it  cvx-det report [TMP]/run\n"), "{out}");

    let run = project.text("run");
    let Outcome { exit, err, out } = project.run(&["report", &run]);
    assert_eq!((exit, err.as_str()), (Exit::Done, ""));
    assert_eq!(out, "[TMP]/run/report.html\n");
    let page = fs::read_to_string(project.path("run/report.html")).unwrap();
    for words in [
        "<meta name=\"viewport\"",
        "prefers-color-scheme:dark",
        "<h2>losses</h2>",
        "Precision over recall",
        "By class, the best first",
        "<td>AP</td><td>0.50:0.95</td><td>all</td><td>100</td>",
        "aria-label=\"losses over steps\"",
        "Best predictions",
        "Worst predictions",
        "data:image/jpeg;base64,",
        "The recipe, with every value",
        "processor",
    ] {
        assert!(page.contains(words), "{words} is not on the page");
    }
    // What stands above a chart does not stand in it once more.
    assert!(!page.contains(">losses</text>") && page.contains(">step</text>"));
    for outside in ["http://", "https://", "src=\"/", "<script", "<link"] {
        assert!(!page.contains(outside), "{outside} is on the page");
    }
    match dom(&project.path("run/report.html")) {
        Some(dom) => assert!(dom.contains("</svg>") && dom.contains("Worst predictions"), "{dom}"),
        None => println!("skipped: there is no Chromium on this machine"),
    }

    // Without its images the page has what the folder knows.
    fs::remove_file(project.path("truth.json")).unwrap();
    let out_file = project.text("page.html");
    let Outcome { exit, err, .. } = project.run(&["report", &run, "--out", &out_file]);
    assert_eq!(exit, Exit::Done, "{err}");
    assert!(err.contains("warning: the page has no predictions: data.coco.val_annotations = \"[TMP]/truth.json\": no such file"), "{err}");
    let page = fs::read_to_string(project.path("page.html")).unwrap();
    assert!(page.contains("<h2>losses</h2>") && !page.contains("Best predictions"));
}

#[test]
fn a_run_without_an_evaluation_shows_its_last_model_and_says_so() {
    let project = Project::new();
    // A step each, and an evaluation after all of them.
    let sets = ["--set=train.epochs=400", "--set=evaluate.every_epochs=400", "--max-time=1s"];
    let Outcome { exit, err, out } = project.command("train", &sets);
    assert_eq!(exit, Exit::Done, "{err}");
    assert!(out.contains("the time of 1 s is over: training stopped after step "), "{out}");
    let Outcome { exit, err, .. } = project.run(&["report", &project.text("run")]);
    assert_eq!(exit, Exit::Done, "{err}");
    let remark = "the run has no evaluation yet: predictions are those of its last checkpoint, after step ";
    assert!(err.contains(&format!("note: {remark}")), "{err}");
    let page = fs::read_to_string(project.path("run/report.html")).unwrap();
    assert!(page.contains(remark) && page.contains("and not evaluated yet"), "no remark");
    assert!(page.contains("Best predictions"), "no predictions");
}

#[test]
fn a_folder_without_a_run_is_refused() {
    let project = Project::new();
    let Outcome { exit, err, .. } = project.run(&["report", &project.text("images")]);
    let expected = "error: [TMP]/images: holds no run; possible is the folder that `train` wrote (run.folder in its recipe)\n";
    assert_eq!((err.as_str(), exit), (expected, Exit::BadInput));
}

#[test]
fn a_quiet_training_says_its_results_alone() {
    let project = Project::new();
    let Outcome { exit, err, out } = project.command("train", &["--set=train.epochs=1", "-q"]);
    assert_eq!((exit, err.as_str()), (Exit::Done, ""));
    assert!(out.contains("trained"), "{out}");
    let Outcome { exit, err, .. } = project.run(&["info", "-q", "-v", &project.text("recipe.toml")]);
    assert!(exit == Exit::BadInput && err.contains("cannot be used with"), "{err}");
}
