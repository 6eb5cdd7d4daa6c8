//! `cvx-cls predict`: the classes of images, surest first, as a table for other programs (CSV, RFC 4180).

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use burn::prelude::*;
use burn::tensor::activation::softmax;
use cvx_data::{Sample, read_image};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::args::PredictArgs;
use super::model::{self, Trained};
use crate::counting::Counting;
use crate::exit::{self, Exit, Streams};
use crate::image_files::image_files;
use crate::train::atomic_file;
use crate::wording::counted;

/// Classifies every image; one that cannot be read is reported, and the others go on.
///
/// # Errors
/// If the weights cannot be used, an image not be read, or the table not be written.
pub fn predict(args: &PredictArgs, streams: &mut Streams<'_>) -> Result<Exit> {
    let device = args.device.open()?;
    let trained = model::load(&args.weights, &device)?;
    trained.remarks.iter().try_for_each(|remark| writeln!(streams.err, "{remark}"))?;
    let files = image_files(&args.images, None)?;
    let mut table = "file,rank,class,probability\n".to_owned();
    let mut failed = Vec::new();
    let mut counting = Counting::on_stderr("classified", files.len());
    for (index, file) in files.iter().enumerate() {
        match classify(&trained, index, file, &device) {
            Ok(probabilities) => {
                let mut order: Vec<usize> = (0..probabilities.len()).collect();
                order.sort_by(|&a, &b| probabilities[b].total_cmp(&probabilities[a]));
                for (rank, &class) in order.iter().take(args.top as usize).enumerate() {
                    let (name, class_name) = (file.display().to_string(), &trained.classes[class]);
                    let probability = probabilities[class];
                    table +=
                        &format!("{},{},{},{probability:.6}\n", quoted(&name), rank + 1, quoted(class_name));
                }
            }
            Err(error) => {
                write!(streams.err, "{}", exit::describe(&error))?;
                failed.push(file);
            }
        }
        counting.advance(1);
    }
    drop(counting);
    if failed.len() < files.len() {
        if let Some(folder) = args.out.parent() {
            fs::create_dir_all(folder).with_context(|| format!("{}: cannot be created", folder.display()))?;
        }
        atomic_file::replace(&args.out, |file| Ok(file.write_all(table.as_bytes())?))?;
        let classified = counted(files.len() - failed.len(), "image", "images");
        writeln!(streams.out, "{classified} -> {}", args.out.display())?;
    }
    let names: String = failed.iter().map(|file| format!("\n{}", file.display())).collect();
    let all = counted(files.len(), "image", "images");
    ensure!(failed.is_empty(), "{} of {all} failed:{names}", failed.len());
    Ok(Exit::Done)
}

fn classify(trained: &Trained, index: usize, file: &Path, device: &Device) -> Result<Vec<f32>> {
    let sample = Sample::of_image(index, file.to_owned(), read_image(file)?);
    // Nothing is drawn at random where an image is cut in its centre.
    let sample = trained.preprocessing.pipeline().apply(sample, &mut ChaCha8Rng::seed_from_u64(0));
    let images = trained.preprocessing.images(std::slice::from_ref(&sample), device);
    Ok(softmax(trained.classifier.forward(images), 1).try_into_vec_as()?)
}

/// A field of a table: in quotes where it needs them.
fn quoted(field: &str) -> String {
    if field.contains(['"', ',', '\n', '\r']) {
        format!("\"{}\"", field.replace('"', "\"\""))
    } else {
        field.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_with_commas_and_quotes_are_quoted() {
        assert_eq!(["cat", "a, b", "the \"cat\""].map(quoted), ["cat", "\"a, b\"", "\"the \"\"cat\"\"\""]);
    }
}
