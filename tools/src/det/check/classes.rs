//! How many examples each class has.

use std::collections::{HashMap, HashSet};
use std::io::Write;

use anyhow::Result;
use cvx_data::Coco;

use crate::verbosity::{Verbosity, verbosity};

/// Classes that are listed; of more, the rarest.
const LISTED: usize = 20;

/// Writes a table of objects and of images that hold one, by class and half, named, the rarest in the first half first.
pub(super) fn write(halves: &[(&str, &Coco)], out: &mut dyn Write) -> Result<()> {
    let counts: Vec<HashMap<u64, [usize; 2]>> = halves.iter().map(|(_, coco)| count(coco)).collect();
    let Some((_, first)) = halves.first() else { return Ok(()) };
    let of = |half: usize, id: u64| counts[half].get(&id).copied().unwrap_or_default();
    let mut classes: Vec<_> = first.categories.iter().collect();
    classes.sort_by_key(|category| (of(0, category.id)[0], category.id));
    let listed = if verbosity() == Verbosity::Verbose { classes.len() } else { LISTED };
    let width = classes.iter().take(listed).map(|class| class.name.chars().count()).max().unwrap_or(0).max(5);
    write!(out, "{:<width$}", "class")?;
    for (name, _) in halves {
        write!(out, " {:>18} {:>9}", format!("{name} objects"), "images")?;
    }
    writeln!(out)?;
    for class in classes.iter().take(listed) {
        write!(out, "{:<width$}", class.name)?;
        for half in 0..halves.len() {
            let [objects, images] = of(half, class.id);
            write!(out, " {objects:>18} {images:>9}")?;
        }
        writeln!(out)?;
    }
    if classes.len() > listed {
        writeln!(out, "and {} classes with more examples, shown with -v", classes.len() - listed)?;
    }
    Ok(())
}

/// Objects, and images with one, by category.
fn count(coco: &Coco) -> HashMap<u64, [usize; 2]> {
    let mut counts: HashMap<u64, [usize; 2]> = HashMap::new();
    let mut seen = HashSet::new();
    for annotation in coco.annotations.iter().filter(|annotation| !annotation.iscrowd) {
        let [objects, images] = counts.entry(annotation.category_id).or_default();
        *objects += 1;
        *images += usize::from(seen.insert((annotation.category_id, annotation.image_id)));
    }
    counts
}
