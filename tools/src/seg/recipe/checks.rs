//! What types cannot say about a segmentor's recipe: ranges, and entries that must agree.

use anyhow::{Result, bail, ensure};

use super::{Auxiliary, Classes, Data, Evaluate, Head, Labels, Loss, Recipe, Upernet};
use crate::recipe::checks::{self, filled, length, not_negative, positive, share, within};
use crate::recipe::{Init, Kind};
use crate::seg::judge;

impl Kind for Recipe {
    fn check(&self) -> Result<()> {
        ensure!(!self.run.folder.as_os_str().is_empty(), "run.folder = \"\": must name a folder");
        check_data(&self.data)?;
        checks::check_normalisation(&self.input.mean, &self.input.std)?;
        length("input.pad_multiple", self.input.pad_multiple)?;
        checks::check_model(&self.model)?;
        if let Init::Detector(_) = self.model.init {
            bail!("model.init.detector: holds no segmentor; possible: `segmentor`, `backbone`, \"random\"");
        }
        let Head::Upernet(upernet) = &self.head;
        check_upernet(upernet)?;
        self.plan().check()?;
        checks::training::check_train(&self.train)?;
        let micro_batch = self.train.batch_size / self.train.accumulation_steps;
        ensure!(
            micro_batch > 1,
            "train.batch_size = {} in train.accumulation_steps = {} parts: a part must have at least 2 images, since the \
             batch normalisation of pooled maps needs two at a time",
            self.train.batch_size,
            self.train.accumulation_steps
        );
        checks::training::check_optimizer(&self.optimizer, &self.schedule)?;
        check_evaluate(&self.evaluate)?;
        checks::check_expect(&self.expect, judge::known_metric)
    }
}

fn check_data(data: &Data) -> Result<()> {
    match data {
        Data::Folders(folders) => {
            if let Some(first_images) = folders.first_images {
                positive("data.folders.first_images", first_images)?;
            }
            if let Some(suffixes) = &folders.image_suffixes {
                filled("data.folders.image_suffixes", suffixes)?;
            }
            if let Classes::Named(names) = &folders.classes {
                filled("data.folders.classes.named", names)?;
                for (index, name) in names.iter().enumerate() {
                    let first = names.iter().position(|other| other == name);
                    ensure!(
                        first == Some(index),
                        "data.folders.classes.named.{index} = \"{name}\": is named twice"
                    );
                }
            }
            let num_classes = folders.class_list().names.len();
            match (&folders.colors, &folders.labels) {
                (Some(_), Labels::Palette { .. }) => bail!(
                    "data.folders.colors: data.folders.labels.palette.colors are those of the classes; only one of them may be given"
                ),
                (Some(colors), _) => ensure!(
                    colors.len() == num_classes,
                    "data.folders.colors: lists {} colours, data.folders.classes {num_classes} classes; each has one",
                    colors.len()
                ),
                (None, _) => {}
            }
            Ok(())
        }
        Data::Shapes(shapes) => checks::check_shapes(shapes),
    }
}

fn check_upernet(upernet: &Upernet) -> Result<()> {
    let Upernet { num_classes, channels, pool_scales, dropout, auxiliary, loss } = upernet;
    within("head.upernet.num_classes", *num_classes, cvx_data::LabelMap::MOST_CLASSES)?;
    length("head.upernet.channels", *channels)?;
    filled("head.upernet.pool_scales", pool_scales)?;
    pool_scales.iter().try_for_each(|scale| length("head.upernet.pool_scales", *scale))?;
    check_dropout(*dropout)?;
    if let Some(Auxiliary { channels, num_convs, loss_weight }) = auxiliary {
        length("head.upernet.auxiliary.channels", *channels)?;
        within("head.upernet.auxiliary.num_convs", *num_convs, checks::DEEPEST)?;
        not_negative("head.upernet.auxiliary.loss_weight", *loss_weight)?;
    }
    let Loss { cross_entropy, mean_over: _, class_weights, dice, lovasz } = loss;
    not_negative("head.upernet.loss.cross_entropy", *cross_entropy)?;
    for (name, weight) in [("dice", dice), ("lovasz", lovasz)] {
        weight.map_or(Ok(()), |weight| not_negative(&format!("head.upernet.loss.{name}"), weight))?;
    }
    let total = cross_entropy + dice.unwrap_or(0.0) + lovasz.unwrap_or(0.0);
    ensure!(total > 0.0, "head.upernet.loss: all weights are 0, and nothing would be learnt");
    if let Some(weights) = class_weights {
        ensure!(
            weights.len() == *num_classes,
            "head.upernet.loss.class_weights: has {} entries, but head.upernet.num_classes = {num_classes}",
            weights.len()
        );
        for (class, weight) in weights.iter().enumerate() {
            not_negative(&format!("head.upernet.loss.class_weights.{class}"), f64::from(*weight))?;
        }
    }
    Ok(())
}

fn check_dropout(dropout: f64) -> Result<()> {
    share("head.upernet.dropout", dropout)?;
    ensure!(dropout < 1.0, "head.upernet.dropout = {dropout}: must be below 1");
    Ok(())
}

fn check_evaluate(evaluate: &Evaluate) -> Result<()> {
    let Evaluate { short_side, long_side, convention: _, best_by, .. } = evaluate;
    checks::check_sides("evaluate.", *short_side, *long_side)?;
    evaluate.look().check("evaluate.")?;
    judge::known_metric("evaluate.best_by", best_by)
}
