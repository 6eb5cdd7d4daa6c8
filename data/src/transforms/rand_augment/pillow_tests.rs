//! Every operation at several magnitudes against timm and Pillow (`tests/fixtures/rand_augment/make.py`).

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;

use super::{Layer, Operation};
use crate::image_file::read_image;

/// By timm's name of it.
fn operation(name: &str) -> Operation {
    let name = name.trim_end_matches("Increasing").trim_end_matches("Rel");
    let named = Operation::ALL.into_iter().find(|operation| format!("{operation:?}") == name);
    named.unwrap_or_else(|| panic!("no operation {name}"))
}

#[test]
fn every_operation_gives_the_pixels_of_pillow() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/rand_augment");
    let frozen: Value = serde_json::from_slice(&std::fs::read(folder.join("cases.json")).unwrap()).unwrap();
    let fill: [u8; 3] = serde_json::from_value(frozen["fill"].clone()).unwrap();
    let cases: Vec<(String, f64, bool)> = serde_json::from_value(frozen["cases"].clone()).unwrap();
    let images: Vec<String> = serde_json::from_value(frozen["images"].clone()).unwrap();
    assert_eq!((cases.len(), images.len()), (120, 4));
    let names: BTreeSet<_> = cases.iter().map(|(name, ..)| name).collect();
    assert_eq!(names.len(), Operation::ALL.len());

    let mut wrong = Vec::new();
    for key in &images {
        let image = read_image(&folder.join(format!("{key}.png"))).unwrap();
        let pillow = read_image(&folder.join(format!("{key}_pillow.png"))).unwrap();
        assert_eq!(pillow.len(), image.len() * cases.len());
        for (case, pillow) in cases.iter().zip(pillow.chunks_exact(image.len())) {
            let (name, magnitude, negated) = case;
            let layer =
                Layer { operation: operation(name), happens: true, magnitude: *magnitude, negated: *negated };
            let changed = layer.change(image.clone(), fill);
            let different = changed.iter().zip(pillow).filter(|(ours, theirs)| ours != theirs).count();
            if different > 0 {
                wrong.push(format!("{key}, {case:?}: {different} of {} values", pillow.len()));
            }
        }
    }
    assert!(wrong.is_empty(), "differ from Pillow:\n  {}", wrong.join("\n  "));
}
