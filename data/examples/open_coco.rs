//! Opens a COCO annotation file and says how long that took: `open_coco FILE [train|score|boxes|check]`.

use std::time::Instant;

use cvx_data::Coco;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let (Some(path), how) = (arguments.next(), arguments.next()) else {
        eprintln!("open_coco FILE [train|score|check]");
        std::process::exit(2);
    };
    let started = Instant::now();
    let opened = match how.as_deref() {
        None | Some("train") => Coco::open(&path),
        Some(_) => Coco::open_for_scoring(&path),
    };
    let coco = opened.unwrap_or_else(|error| {
        eprintln!("error: {error}");
        std::process::exit(2);
    });
    let (images, annotations) = (coco.images.len(), coco.annotations.len());
    println!("{images} images, {annotations} annotations in {:.2} s", started.elapsed().as_secs_f64());
    if how.as_deref() == Some("check") {
        coco.problems().iter().for_each(|problem| println!("{problem}"));
        println!("checked after {:.2} s", started.elapsed().as_secs_f64());
    }
}
