//! `cvx-cls report`: one page about a run.

use std::io::Write;

use anyhow::Result;
use cvx_data::{Dataset as _, read_image};

use super::judge::{Choice, Judge, TOP1};
use super::recipe::Recipe;
use super::{data, model};
use crate::args::ReportArgs;
use crate::counting::Counting;
use crate::exit::{Exit, Streams};
use crate::page::{Page, confusion};
use crate::recipe;
use crate::run_report::{Pair, Run, chosen, pictures};

/// Writes the page; what needs the validation images is left out, with a warning, where they cannot be read.
///
/// # Errors
/// If the folder holds no run, or the page cannot be written.
pub fn report(args: &ReportArgs, streams: &mut Streams<'_>) -> Result<Exit> {
    let run = Run::open(&args.run)?;
    let recipe: Recipe = recipe::load(&run.recipe_path(), &args.set)?;
    let mut page = run.begin(TOP1);
    if let Err(error) = judge(args, &recipe, &run, &mut page, streams.err) {
        writeln!(streams.err, "warning: the page has no predictions: {error:#}")?;
        page.paragraph(&format!("There are no predictions on this page: {error:#}"));
    }
    let path = run.end(page, args)?;
    writeln!(streams.out, "{}", path.display())?;
    Ok(Exit::Done)
}

/// What the best model takes the validation images for.
fn judge(args: &ReportArgs, recipe: &Recipe, run: &Run, page: &mut Page, err: &mut dyn Write) -> Result<()> {
    let checkpoint = run.judged(page, err)?;
    model::expect_recipe(&checkpoint, recipe)?;
    let device = args.device.open()?;
    let (val_set, _) = data::open_val(recipe)?;
    let classifier = checkpoint.load_model(model::architecture(recipe).init(&device))?;
    let judge = Judge { classifier: &classifier, preprocessing: &recipe.input, device: &device };
    let mut counting = Counting::on_stderr("evaluated", val_set.len());
    let judgement = judge.run(&val_set, recipe.evaluate.batch_size, recipe.train.workers, &mut |images| {
        counting.advance(images);
    })?;
    drop(counting);

    let names = val_set.class_names();
    page.heading("By class");
    page.table(&["class", "images", "top1"], &judgement.class_rows());
    page.heading("Confusion");
    let mut counts = vec![0; names.len() * names.len()];
    for Choice { class, first, .. } in judgement.choices() {
        counts[class * names.len() + first] += 1;
    }
    confusion(page, names, &|truth, prediction| counts[truth * names.len() + prediction]);

    page.heading("What it looks like");
    page.note("Images are ordered by the probability that their class was given.");
    let scores: Vec<f64> = judgement.choices().iter().map(|choice| f64::from(choice.of_truth)).collect();
    pictures(page, &chosen(&scores, args.pictures), &mut |position| {
        let Choice { index, class, first, of_first, of_truth } = judgement.choices()[position];
        let path = val_set.file(index);
        let verdict = if class == first {
            format!("{}, rightly, {of_first:.2}", names[first])
        } else {
            format!("{} {of_first:.2}, but it is {} ({of_truth:.2})", names[first], names[class])
        };
        let file = path.file_name().unwrap_or_default().to_string_lossy();
        let caption = format!("{file}: {verdict}");
        Ok(Pair { prediction: read_image(path)?, truth: None, caption, key: Vec::new() })
    })
}
