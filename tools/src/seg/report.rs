//! `cvx-seg report`: one page about a run.

use std::io::Write;

use anyhow::Result;
use cvx_data::{ClassIou, ConfusionMatrix, Dataset as _};

use super::data::{self, Source};
use super::description::expect_recipe;
use super::inference::label_image;
use super::initial::random;
use super::model::Preprocessing;
use super::pictures::{Pictures, colors_of};
use super::recipe::Recipe;
use crate::args::ReportArgs;
use crate::counting::Counting;
use crate::exit::{Exit, Streams};
use crate::page::{Page, confusion};
use crate::recipe;
use crate::run_report::{Run, chosen, pictures};

/// Writes the page; what needs the validation images is left out, with a warning, where they cannot be read.
pub fn report(args: &ReportArgs, streams: &mut Streams<'_>) -> Result<Exit> {
    let run = Run::open(&args.run)?;
    let recipe: Recipe = recipe::load(&run.recipe_path(), &args.set)?;
    let mut page = run.begin(&recipe.evaluate.best_by);
    if let Err(error) = judge(args, &recipe, &run, &mut page, streams.err) {
        writeln!(streams.err, "warning: the page has no predictions: {error:#}")?;
        page.paragraph(&format!("There are no predictions on this page: {error:#}"));
    }
    let path = run.end(page, args)?;
    writeln!(streams.out, "{}", path.display())?;
    Ok(Exit::Done)
}

/// What the best model takes the pixels of the validation images for.
fn judge(args: &ReportArgs, recipe: &Recipe, run: &Run, page: &mut Page, err: &mut dyn Write) -> Result<()> {
    let checkpoint = run.judged(page, err)?;
    expect_recipe(&checkpoint, recipe, &[])?;
    let device = args.device.open()?;
    let source = Source::of(&recipe.data)?;
    let val_set = source.open_val()?;
    let segmentor = checkpoint.load_model(random(recipe, &device))?;
    let colors = colors_of(recipe, &source.classes)?;
    let preprocessing = Preprocessing::of(recipe);
    let drawn = Pictures {
        segmentor: &segmentor,
        preprocessing: &preprocessing,
        recipe,
        colors: &colors,
        device: &device,
    };

    let names = val_set.class_names();
    let mut matrix = ConfusionMatrix::new(names.len());
    let mut scores = vec![f64::NAN; val_set.len()];
    let mut counting = Counting::on_stderr("evaluated", val_set.len());
    for samples in data::val_loader(&val_set, recipe.train.workers).epoch(0, 0) {
        for sample in samples? {
            let look = recipe.evaluate.look();
            let predicted = label_image(&segmentor, &sample.image, &preprocessing, &look, &device);
            let mut own = ConfusionMatrix::new(names.len());
            own.add(&val_set.labels(sample.index)?, &predicted);
            let metrics = own.metrics(recipe.evaluate.convention.convention());
            scores[sample.index] = metrics.mean_iou.unwrap_or(f64::NAN);
            matrix.merge(&own);
            counting.advance(1);
        }
    }
    drop(counting);

    let metrics = matrix.metrics(recipe.evaluate.convention.convention());
    page.heading("By class, the best first");
    let mut classes: Vec<(&String, &ClassIou)> = names.iter().zip(&metrics.classes).collect();
    classes.sort_by(|(_, a), (_, b)| b.iou.unwrap_or(-1.0).total_cmp(&a.iou.unwrap_or(-1.0)));
    let text = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| format!("{value:.4}"));
    let row = |(name, class): &(&String, &ClassIou)| {
        let ClassIou { iou, accuracy, dice, pixels } = class;
        vec![(*name).clone(), text(*iou), text(*accuracy), text(*dice), pixels.to_string()]
    };
    page.table(&["class", "IoU", "accuracy", "Dice", "pixels"], &classes.iter().map(row).collect::<Vec<_>>());
    page.heading("Confusion");
    confusion(page, &names, &|truth, prediction| matrix.count(truth, prediction));

    page.heading("What it looks like");
    page.note(
        "First what pixels were taken for, then what they are, with the shares of both; images are ordered by their own mean IoU.",
    );
    pictures(page, &chosen(&scores, args.pictures), &mut |index| {
        let mut pair = drawn.pair_with_key(&val_set, index)?;
        pair.caption += &format!(": mean IoU {:.3}", scores[index]);
        Ok(pair)
    })
}
