//! `cvx-pretrain report`: one page about a run.

use std::sync::Arc;

use anyhow::Result;
use cvx_data::Dataset as _;

use super::data;
use super::judge::EXPLAINED;
use super::model::{self, Architecture, Trained};
use super::recipe::Recipe;
use super::reconstruct::draw;
use crate::args::ReportArgs;
use crate::counting::Counting;
use crate::exit::{Exit, Streams};
use crate::page::Page;
use crate::recipe;
use crate::run_report::{Pair, Run, chosen, pictures};

/// Writes the page; what needs the validation images is left out, with a warning, where they cannot be read.
///
/// # Errors
/// If the folder holds no run, or the page cannot be written.
pub fn report(args: &ReportArgs, streams: &mut Streams<'_>) -> Result<Exit> {
    let run = Run::open(&args.run)?;
    let recipe: Recipe = recipe::load(&run.recipe_path(), &args.set)?;
    let mut page = run.begin(EXPLAINED);
    if let Err(error) = judge(args, &recipe, &run, &mut page, streams) {
        writeln!(streams.err, "warning: the page has no reconstructions: {error:#}")?;
        page.paragraph(&format!("There are no reconstructions on this page: {error:#}"));
    }
    let path = run.end(page, args)?;
    writeln!(streams.out, "{}", path.display())?;
    Ok(Exit::Done)
}

/// What the best model imagines of the validation images, with the same patches hidden as in training's evaluations.
fn judge(
    args: &ReportArgs,
    recipe: &Recipe,
    run: &Run,
    page: &mut Page,
    streams: &mut Streams<'_>,
) -> Result<()> {
    let checkpoint = run.judged(page, streams.err)?;
    let device = args.device.open()?;
    let architecture = Architecture::of(recipe);
    let fcmae = checkpoint.load_model(architecture.init(&device))?;
    let trained = Trained { fcmae, architecture, preprocessing: model::preprocessing(recipe) };
    let [_, val_set] = data::open(&recipe.data)?;

    let Trained { fcmae, architecture, preprocessing } = &trained;
    let mut scores = vec![f64::NAN; val_set.len()];
    let mut counting = Counting::on_stderr("judged", val_set.len());
    let (batch_size, workers) = (recipe.evaluate.batch_size, recipe.train.workers);
    for samples in data::val_loader(&val_set, preprocessing, batch_size, workers).epoch(0, 0) {
        let samples = samples?;
        let seeds: Vec<u64> = samples.iter().map(|sample| sample.index as u64).collect();
        let mask = Arc::new(architecture.mask(preprocessing.size, &seeds));
        let (_, shares) = fcmae.judge(preprocessing.images(&samples, &device), &mask);
        for (sample, share) in samples.iter().zip(shares.try_into_vec_as::<f32>()?) {
            scores[sample.index] = f64::from(share);
        }
        counting.advance(samples.len());
    }
    drop(counting);

    page.heading("What it imagines");
    page.note("Images are ordered by the share of what varies within hidden patches that is imagined.");
    pictures(page, &chosen(&scores, args.pictures), &mut |index| {
        let sample = val_set.get(index)?;
        let file = sample.file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let caption = format!("{file}: {:.3} explained", scores[index]);
        let prediction = draw(&trained, sample, index as u64, &device)?;
        Ok(Pair { prediction, truth: None, caption, key: Vec::new() })
    })
}
