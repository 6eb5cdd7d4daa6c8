//! `cvx-seg score`: predicted label images against true ones, with no model, as mmseg would.

use std::sync::Mutex;

use anyhow::{Context, Result, bail, ensure};
use cvx_data::{
    ConfusionMatrix, Convention, LabelEncoding, LabelFolders, LabelMap, LabelPair, PredictionEncoding,
    ZeroLabel,
};

use super::args_predict::{ConventionArg, ScoreArgs, ZeroArg};
use super::judge;
use crate::counting::Counting;
use crate::exit::{Exit, Streams};
use crate::report;
use crate::wording::counted;

/// Prints mmseg's tables.
pub fn score(args: &ScoreArgs, streams: &mut Streams<'_>) -> Result<Exit> {
    let names = args.classes.as_ref().map(|classes| classes.names().context("--classes")).transpose()?;
    // Listed values tell how many classes there are.
    let listed = (!args.values.is_empty()).then(|| args.values.iter().map(u8::to_string).collect());
    let names: Option<Vec<String>> = names.or(listed);
    ensure!(
        names.is_some() || args.convention != ConventionArg::Ade,
        "--convention ade averages over classes that do not occur: say how many there are, by --classes"
    );
    let (truth, prediction, most) = encodings(args)?;
    let num_classes = names.as_ref().map_or(most, Vec::len);
    truth.check(num_classes).context("the label images cannot be read so")?;

    let LabelPairs { pairs, matrix } = LabelPairs::compare(args, &truth, &prediction, num_classes)?;
    let matrix = if names.is_some() { matrix } else { only_seen(matrix, args)? };
    if names.is_none() {
        warn_of_never_true(&matrix, args, streams)?;
    }
    let names = names.unwrap_or_else(|| (0..matrix.num_classes()).map(|class| class.to_string()).collect());
    warn_of_strays(&matrix, args, streams)?;
    let metrics = matrix.metrics(args.convention.convention());
    writeln!(
        streams.out,
        "{}, {}",
        counted(pairs, "pair of label images", "pairs of label images"),
        counted(names.len(), "class", "classes")
    )?;
    let table = if args.per_class { metrics.table(&names) } else { metrics.means_table() };
    streams.out.write_all(table.as_bytes())?;
    if let Some(path) = &args.json {
        report::write_json(path, &judge::named(&metrics, &names), judge::classes_entry(&metrics, &names))?;
    }
    Ok(Exit::Done)
}

/// How both are read, and most classes that can be told so.
fn encodings(args: &ScoreArgs) -> Result<(LabelEncoding, PredictionEncoding, usize)> {
    let zeros_are_classes = [args.zero, args.prediction_zero] == [ZeroArg::Class; 2];
    if let Some(palette) = &args.palette {
        ensure!(
            zeros_are_classes && args.ignore.is_empty() && args.values.is_empty(),
            "--palette tells the classes: `--zero`, `--prediction-zero`, `--values` and `--ignore` are of values"
        );
        let colors = palette.colors().context("--palette")?;
        let ignored: Vec<[u8; 3]> =
            palette.ignored().into_iter().filter(|color| !colors.contains(color)).collect();
        let most = colors.len();
        let truth = LabelEncoding::Palette { colors: colors.clone(), ignored: ignored.clone() };
        return Ok((truth, PredictionEncoding::Palette { colors, ignored }, most));
    }
    if !args.values.is_empty() {
        ensure!(
            zeros_are_classes,
            "--values tells the classes: `--zero` and `--prediction-zero` are of indices"
        );
        let (values, ignored) = (args.values.clone(), args.ignore.clone());
        let most = values.len();
        let prediction = PredictionEncoding::Values { values: values.clone() };
        return Ok((LabelEncoding::Values { values, ignored }, prediction, most));
    }
    let (zero, most) = match args.zero {
        ZeroArg::Class => (ZeroLabel::Class, LabelMap::MOST_CLASSES),
        ZeroArg::Ignored => (ZeroLabel::Ignored, LabelMap::MOST_CLASSES - 1),
    };
    let first = u8::from(args.prediction_zero == ZeroArg::Ignored);
    Ok((
        LabelEncoding::Index { zero, ignored: args.ignore.clone() },
        PredictionEncoding::Index { first },
        most,
    ))
}

/// All pairs, counted.
struct LabelPairs {
    pairs: usize,
    matrix: ConfusionMatrix,
}

impl LabelPairs {
    fn compare(
        args: &ScoreArgs,
        truth: &LabelEncoding,
        prediction: &PredictionEncoding,
        num_classes: usize,
    ) -> Result<Self> {
        let folders = LabelFolders {
            truth: args.truth.clone(),
            truth_suffix: args.truth_suffix.clone(),
            predictions: args.predictions.clone(),
            prediction_suffix: args.prediction_suffix.clone(),
        };
        let pairs = folders.pairs()?;
        folders.refuse_masks(&pairs, truth).context("--values says which value each class has")?;
        let counting = Mutex::new(Counting::on_stderr("scored", pairs.len()));
        // A thread that panicked counted nothing wrong.
        let progress = || counting.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).advance(1);
        let matrix = LabelPair::confusion(&pairs, truth, prediction, num_classes, &progress)?;
        Ok(Self { pairs: pairs.len(), matrix })
    }
}

/// The classes up to the last one that occurs.
fn only_seen(matrix: ConfusionMatrix, args: &ScoreArgs) -> Result<ConfusionMatrix> {
    match matrix.num_classes_seen() {
        0 => bail!("{}: every pixel is ignored", args.truth.display()),
        seen => Ok(matrix.first_classes(seen)),
    }
}

/// Where nobody said how many classes there are, a slip of a prediction makes a class.
fn warn_of_never_true(matrix: &ConfusionMatrix, args: &ScoreArgs, streams: &mut Streams<'_>) -> Result<()> {
    let all = 0..matrix.num_classes();
    let is_predicted = |class: &usize| all.clone().any(|truth| matrix.count(truth, *class) > 0);
    let is_true = |class: &usize| {
        matrix.out_of_range(*class) > 0 || all.clone().any(|found| matrix.count(*class, found) > 0)
    };
    let never_true: Vec<usize> = all.clone().filter(|class| is_predicted(class) && !is_true(class)).collect();
    if let [first, ..] = never_true.as_slice() {
        writeln!(
            streams.err,
            "warning: {} in {} and never true, the first is {first}; --classes says how many there are",
            if never_true.len() == 1 {
                "1 class is predicted".to_owned()
            } else {
                format!("{} classes are predicted", never_true.len())
            },
            args.predictions.display()
        )?;
    }
    Ok(())
}

/// Predicted values that are no class are misses, and mostly a mistake.
fn warn_of_strays(matrix: &ConfusionMatrix, args: &ScoreArgs, streams: &mut Streams<'_>) -> Result<()> {
    let num_classes = matrix.num_classes();
    let strays: u64 = (0..num_classes).map(|class| matrix.out_of_range(class)).sum();
    if strays > 0 {
        let pixels = if strays == 1 { "pixel has" } else { "pixels have" };
        writeln!(
            streams.err,
            "warning: {strays} {pixels} a value in {} that is none of {num_classes} classes; they count as missed",
            args.predictions.display()
        )?;
    }
    Ok(())
}

impl ConventionArg {
    fn convention(self) -> Convention {
        match self {
            Self::Mmseg => Convention::Mmseg,
            Self::Ade => Convention::Ade,
            Self::Detectron2 => Convention::Detectron2,
            Self::Torchmetrics => Convention::Torchmetrics,
        }
    }
}
