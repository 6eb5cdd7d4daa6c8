//! Recipes that change others, and where each value of a recipe comes from.

use std::fs;

use cvx_tools::exit::Exit;
use cvx_tools::recipe::{Decay, Recipe, load};

use crate::{Outcome, Project};

/// A project with these recipes beside its own, `recipe.toml`.
fn project(recipes: &[(&str, &str)]) -> Project {
    let project = Project::new();
    for (name, text) in recipes {
        fs::create_dir_all(project.path(name).parent().unwrap()).unwrap();
        fs::write(project.path(name), text).unwrap();
    }
    project
}

/// The error of `info` on `name`.
#[track_caller]
fn refused(recipes: &[(&str, &str)], name: &str, expected: &str) {
    let project = project(recipes);
    let Outcome { exit, err, .. } = project.run(&["info", &project.text(name), "--dump"]);
    assert_eq!(err, expected);
    assert_eq!(exit, Exit::BadInput);
}

#[test]
fn tables_merge_and_values_and_lists_replace() {
    let middle = "base = \"../recipe.toml\"\n[train]\nepochs = 7\nbatch_size = 4\n[expect]\n\"box/ap50\" = { at-least = 0.1 }\n";
    let own = "base = \"sub/middle.toml\"\n[train]\nbatch_size = 6\n[head.mask-rcnn.rpn]\nanchor_scales = [8.0, 16.0]\n";
    let project = project(&[("sub/middle.toml", middle), ("own.toml", own)]);
    let base: Recipe = load(&project.path("recipe.toml"), &[]).unwrap();
    let read: Recipe = load(&project.path("own.toml"), &["train.workers=0".to_owned()]).unwrap();
    assert_eq!((read.train.epochs, read.train.batch_size, read.train.workers), (7, 6, 0));
    let cvx_tools::recipe::Head::MaskRcnn(head) = &read.head;
    assert_eq!((head.rpn.anchor_scales.as_slice(), head.fpn_channels), (&[8.0, 16.0][..], 16));
    assert_eq!(read.train.transforms, base.train.transforms);
    let expected: Vec<String> = read.expect.unwrap().into_keys().collect();
    assert_eq!(expected, ["box/ap", "box/ap50", "mask/ap"]);
}

#[test]
fn another_variant_replaces_what_the_bases_say_of_a_choice() {
    let decay = |text: &str| {
        let own = format!("base = \"middle.toml\"\n[schedule]\n{text}\n");
        let middle = "base = \"recipe.toml\"\n[schedule]\ndecay = { step = { milestone_epochs = [1], gamma = 0.5 } }\n";
        let project = project(&[("middle.toml", middle), ("own.toml", &own)]);
        load::<Recipe>(&project.path("own.toml"), &[]).map(|recipe| recipe.schedule.decay)
    };
    assert_eq!(decay("decay = \"constant\"").unwrap(), Decay::Constant);
    assert_eq!(decay("decay = { cosine = { min_lr = 0.0 } }").unwrap(), Decay::Cosine { min_lr: 0.0 });
    // The same variant merges ..
    let step = Decay::Step { milestone_epochs: vec![1], gamma: 0.25 };
    assert_eq!(decay("decay.step.gamma = 0.25").unwrap(), step);
    // .. but what lies below another one is gone: the recipe's own cosine has a `min_lr`.
    let error = format!("{:#}", decay("decay = { cosine = {} }").unwrap_err());
    assert!(error.contains("`min_lr` is missing"), "{error}");
    // Two at once are nobody's choice.
    let error =
        format!("{:#}", decay("decay = { cosine = { min_lr = 0.0 }, step = { gamma = 1.0 } }").unwrap_err());
    assert!(error.contains("`cosine` and `step` where one of `constant`, `step`"), "{error}");
}

#[test]
fn a_value_is_set_over_bases_and_in_lists() {
    let project = project(&[("own.toml", "base = \"recipe.toml\"\n")]);
    let sets = [
        "schedule.decay.polynomial={ power = 1.0, min_lr = 0.0 }",
        "train.transforms.0.flip.probability=1.0",
    ];
    let read: Recipe = load(&project.path("own.toml"), &sets.map(str::to_owned)).unwrap();
    assert_eq!(read.schedule.decay, Decay::Polynomial { power: 1.0, min_lr: 0.0 });
    assert_eq!(read.train.transforms, [cvx_tools::recipe::TransformRecipe::Flip { probability: 1.0 }]);
    // A table replaces what was there, as every value does.
    let read: Recipe = load(&project.path("own.toml"), &["expect={}".to_owned()]).unwrap();
    assert!(read.expect.unwrap().is_empty());
}

#[test]
fn bases_in_a_circle_and_bases_that_are_not_there_name_the_chain() {
    refused(
        &[("a.toml", "base = \"b.toml\"\n"), ("b.toml", "base = \"a.toml\"\n")],
        "a.toml",
        "error: [TMP]/a.toml: a recipe cannot be a base of itself (the chain of bases: [TMP]/a.toml -> [TMP]/b.toml -> \
         [TMP]/a.toml)\n",
    );
    refused(
        &[("a.toml", "base = \"none.toml\"\n")],
        "a.toml",
        "error: [TMP]/none.toml: a recipe that cannot be read (the chain of bases: [TMP]/a.toml -> [TMP]/none.toml)\n  \
         No such file or directory (os error 2)\n",
    );
    refused(
        &[("a.toml", "base = 3\n")],
        "a.toml",
        "error: [TMP]/a.toml is not a recipe
  TOML parse error at line 1, column 8
    |
  1 | base = 3
    |        ^
  `base` must name a file, as in base = \"coco.toml\"
",
    );
}

#[test]
fn an_error_names_the_file_and_the_line_it_comes_from() {
    refused(
        &[
            ("a.toml", "base = \"b.toml\"\n[train]\nepochs = 2\n"),
            ("b.toml", "base = \"recipe.toml\"\n[train]\nbatch_size = true\n"),
        ],
        "a.toml",
        "error: [TMP]/a.toml is not a recipe
  TOML parse error in its base [TMP]/b.toml at line 3, column 14
    |
  3 | batch_size = true
    |              ^^^^
  true where a whole number from 0 is expected
",
    );
    refused(
        &[
            ("a.toml", "base = \"b.toml\"\n"),
            ("b.toml", "base = \"recipe.toml\"\n[optimizer.adamw]\nlr = -1.0\n"),
        ],
        "a.toml",
        "error: [TMP]/a.toml cannot work
  optimizer.adamw.lr = -1: must be above 0
  at [TMP]/b.toml:3
",
    );
}

#[test]
fn a_dump_is_the_recipe_with_the_origin_of_every_value() {
    let project = project(&[("own.toml", "base = \"recipe.toml\"\n\n[train]\nepochs = 5\n")]);
    let own = project.text("own.toml");
    let set = "optimizer.adamw.lr=0.002";
    let Outcome { exit, out, err } = project.run(&["info", &own, "--dump", "--set", set]);
    assert_eq!(exit, Exit::Done, "{err}");
    let base = fs::read_to_string(project.path("recipe.toml")).unwrap();
    let line = |of: &str| base.lines().position(|line| line.starts_with(of)).unwrap() + 1;
    for expected in [
        "epochs = 5  # [TMP]/own.toml:4".to_owned(),
        format!("lr = 0.002  # --set {set}"),
        format!("batch_size = 2  # [TMP]/recipe.toml:{}", line("batch_size = 2")),
        format!("probability = 0.5  # [TMP]/recipe.toml:{}", line("    { flip")),
        "histograms = false  # default".to_owned(),
    ] {
        assert!(out.lines().any(|line| line == expected), "{expected} is not in\n{out}");
    }
    // It is a recipe itself, and the same one.
    fs::write(project.path("dumped.toml"), &out).unwrap();
    let again: Recipe = load(&project.path("dumped.toml"), &[]).unwrap();
    assert_eq!(again, load(&project.path("own.toml"), &[set.to_owned()]).unwrap());
}

#[test]
fn a_recipe_takes_back_what_its_base_says() {
    let middle = "base = \"recipe.toml\"\n[train]\nema = { decay = 0.9, warmup = true }\nmax_grad_norm = 3.0\n[evaluate]\nhistograms = true\n";
    let own = "base = \"middle.toml\"\nwithout = [\"train.ema\", \"evaluate.histograms\", \"expect\"]\n[expect]\n\"box/ap\" = { at-least = 0.5 }\n";
    let project = project(&[("middle.toml", middle), ("own.toml", own)]);
    let read = |sets: &[&str]| {
        let sets: Vec<String> = sets.iter().map(|&set| set.to_owned()).collect();
        load::<Recipe>(&project.path("own.toml"), &sets).unwrap()
    };
    let recipe = read(&[]);
    assert_eq!((recipe.train.ema, recipe.train.max_grad_norm), (None, Some(3.0)));
    assert!(!recipe.evaluate.histograms);
    // What it says itself of an entry it took back stands.
    assert_eq!(recipe.expect.unwrap().into_keys().collect::<Vec<_>>(), ["box/ap"]);

    // From the command line, of all that was said before, and to be said anew.
    let recipe = read(&["without=train.max_grad_norm"]);
    assert_eq!(recipe.train.max_grad_norm, None);
    let recipe = read(&["without=[\"train.max_grad_norm\", \"expect\"]", "train.max_grad_norm=2.0"]);
    assert_eq!((recipe.train.max_grad_norm, recipe.expect), (Some(2.0), None));

    let Outcome { exit, out, err } = project.run(&["info", &project.text("own.toml"), "--dump"]);
    assert_eq!(exit, Exit::Done, "{err}");
    let has = |line: &str| out.lines().any(|found| found == line);
    assert!(has("max_grad_norm = 3.0  # [TMP]/middle.toml:4"), "{out}");
    assert!(has("histograms = false  # default"), "{out}");
    for gone in ["[train.ema]", "without", "[expect.\"mask/ap\"]"] {
        assert!(!out.contains(gone), "{gone} is in\n{out}");
    }
    assert!(out.contains("at-least = 0.5  # [TMP]/own.toml:4"), "{out}");
}

#[test]
fn what_a_base_does_not_have_cannot_be_taken_back() {
    refused(
        &[("a.toml", "base = \"recipe.toml\"\nwithout = [\"expect\", \"train.max_grad_nrom\"]\n")],
        "a.toml",
        "error: [TMP]/a.toml is not a recipe
  TOML parse error at line 2, column 22
    |
  2 | without = [\"expect\", \"train.max_grad_nrom\"]
    |                      ^^^^^^^^^^^^^^^^^^^^^
  there is no `train.max_grad_nrom` to be taken out
  did you mean `train.max_grad_norm`?
",
    );
    refused(
        &[("a.toml", "base = \"recipe.toml\"\nwithout = [\"train.transforms.0\"]\n")],
        "a.toml",
        "error: [TMP]/a.toml is not a recipe
  TOML parse error at line 2, column 12
    |
  2 | without = [\"train.transforms.0\"]
    |            ^^^^^^^^^^^^^^^^^^^^
  `train.transforms` is a list, which is replaced as a whole: nothing of it can be taken out
",
    );
    refused(
        &[("a.toml", "without = \"expect\"\n")],
        "a.toml",
        "error: [TMP]/a.toml is not a recipe
  TOML parse error at line 1, column 1
    |
  1 | without = \"expect\"
    | ^^^^^^^
  `without` takes entries from a `base`, and there is none
",
    );
    refused(
        &[("a.toml", "base = \"recipe.toml\"\nwithout = 3\n")],
        "a.toml",
        "error: [TMP]/a.toml is not a recipe
  TOML parse error at line 2, column 11
    |
  2 | without = 3
    |           ^
  `without` must list entries, as in without = [\"train.ema\"]
",
    );
    let project = Project::new();
    let recipe = project.text("recipe.toml");
    let Outcome { exit, err, .. } = project.run(&["info", &recipe, "--set", "without=train.emma"]);
    assert_eq!(exit, Exit::BadInput);
    let expected = "error: --set without=train.emma does not fit [TMP]/recipe.toml\n  there is no `train.emma` to be taken out\n";
    assert!(err.starts_with(expected), "{err}");
    // Without an entry that must be there, it is missed as ever.
    let Outcome { err, .. } = project.run(&["info", &recipe, "--set", "without=train.epochs"]);
    assert!(err.contains("`epochs` is missing"), "{err}");
}
