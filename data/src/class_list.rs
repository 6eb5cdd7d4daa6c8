//! Names and colours of the classes of well-known segmentation data sets.
//!
//! Facts from mmseg 1.2.2, `mmseg/datasets/{ade,voc,cityscapes}.py` (`METAINFO`), which has those of ADE20K
//! from the scene parsing challenge (`objectInfo150`, `color150`), of PASCAL VOC from its development kit,
//! and of Cityscapes from cityscapesScripts (the 19 classes with a `trainId`). ADE20K's `bed ` is without its space.

/// Names and colours, by class index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClassList {
    /// What the classes are called.
    pub names: Vec<String>,
    /// Red, green and blue in which they are shown.
    pub colors: Vec<[u8; 3]>,
}

impl ClassList {
    /// The 150 classes of ADE20K's scene parsing challenge. Its label images hold 1 to 150, and 0 for
    /// everything else: [`ZeroLabel::Ignored`](crate::ZeroLabel::Ignored).
    pub fn ade20k() -> Self {
        Self::from_csv(include_str!("class_list/ade20k.csv"))
    }

    /// The background and 20 classes of PASCAL VOC; label images are indexed and ignore 255.
    pub fn voc() -> Self {
        Self::from_csv(include_str!("class_list/voc.csv"))
    }

    /// The 19 classes that Cityscapes is evaluated on, as in the files `.._labelTrainIds.png`.
    pub fn cityscapes() -> Self {
        Self::from_csv(include_str!("class_list/cityscapes.csv"))
    }

    /// Classes that have no colours of their own, in those of [`voc_palette`].
    pub fn named(names: Vec<String>) -> Self {
        let colors = voc_palette(names.len());
        Self { names, colors }
    }

    /// Lines of `red,green,blue,name`, as they are in our own files.
    fn from_csv(text: &str) -> Self {
        let mut list = Self { names: Vec::new(), colors: Vec::new() };
        for line in text.lines() {
            let mut cells = line.splitn(4, ',');
            let mut channel = || cells.next().and_then(|cell| cell.parse().ok());
            let color = [(); 3].map(|()| channel().expect("a class begins with three numbers"));
            list.colors.push(color);
            list.names.push(cells.next().expect("a class has a name").to_owned());
        }
        list
    }
}

/// Colours that differ as much as may be, for any number of classes: the bits of the index, lowest first,
/// go to the highest free bits of red, green and blue in turn. Those of PASCAL VOC; index 0 is black.
pub fn voc_palette(num_classes: usize) -> Vec<[u8; 3]> {
    let color = |class: usize| {
        let mut color = [0; 3];
        for bit in 0..8 {
            for (channel, value) in color.iter_mut().enumerate() {
                let set = (class >> (3 * bit + channel) & 1) as u8;
                *value |= set << (7 - bit);
            }
        }
        color
    };
    (0..num_classes).map(color).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_list_has_distinct_names_and_colours() {
        for (list, count) in
            [(ClassList::ade20k(), 150), (ClassList::voc(), 21), (ClassList::cityscapes(), 19)]
        {
            assert!(list.names.iter().all(|name| !name.is_empty() && name.trim() == name));
            assert_eq!(list.names.iter().collect::<BTreeSet<_>>().len(), count);
            assert_eq!(list.names.len(), list.colors.len());
            // ADE20K shows roads and skyscrapers in one grey.
            let shared = usize::from(count == 150);
            assert_eq!(list.colors.iter().collect::<BTreeSet<_>>().len(), count - shared);
        }
    }

    #[test]
    fn the_lists_begin_and_end_as_published() {
        let ade = ClassList::ade20k();
        assert_eq!((ade.names[0].as_str(), ade.colors[0]), ("wall", [120, 120, 120]));
        assert_eq!((ade.names[7].as_str(), ade.colors[7]), ("bed", [204, 5, 255]));
        assert_eq!((ade.names[149].as_str(), ade.colors[149]), ("flag", [92, 0, 255]));
        let voc = ClassList::voc();
        assert_eq!((voc.names[20].as_str(), voc.colors[20]), ("tvmonitor", [0, 64, 128]));
        let cityscapes = ClassList::cityscapes();
        assert_eq!((cityscapes.names[0].as_str(), cityscapes.colors[0]), ("road", [128, 64, 128]));
        assert_eq!((cityscapes.names[18].as_str(), cityscapes.colors[18]), ("bicycle", [119, 11, 32]));
    }

    #[test]
    fn the_bitwise_palette_is_that_of_voc() {
        assert_eq!(voc_palette(21), ClassList::voc().colors);
        assert_eq!(voc_palette(256)[255], [224, 224, 192]);
        assert_eq!(ClassList::named(vec!["a".into(), "b".into()]).colors, [[0, 0, 0], [128, 0, 0]]);
    }
}
