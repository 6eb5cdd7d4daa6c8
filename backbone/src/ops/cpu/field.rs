//! Which positions of a batch of maps there are in memory: all of them, or those of visible patches alone.
//!
//! Only the depthwise convolution knows which positions are neighbours. Everything else takes them one after the other,
//! image after image, and is told by [`Field::positions`] how many there are.

use core::ops::Range;

use super::depthwise::Images;
use crate::mask::Mask;

/// The maps of a batch, and what there is of them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Field<'a> {
    /// The whole maps, as the convolution sees them.
    pub(crate) maps: Images,
    patches: Option<Patches<'a>>,
}

/// The visible patches of a batch, in memory one after the other.
#[derive(Clone, Copy, Debug)]
struct Patches<'a> {
    slots: &'a [u32],
    columns: usize,
    side: usize,
    visible: usize,
}

impl<'a> Field<'a> {
    /// Maps with all their positions, row after row.
    pub(crate) fn whole(maps: Images) -> Self {
        Self { maps, patches: None }
    }

    /// Maps of which there are the visible patches, `side` positions long.
    pub(crate) fn visible(mask: &'a Mask, side: usize, channels: usize) -> Self {
        let [rows, columns] = mask.grid();
        let maps = Images { batch: mask.batch(), height: rows * side, width: columns * side, channels };
        let patches = Patches { slots: mask.slots(), columns, side, visible: mask.visible() };
        Self { maps, patches: Some(patches) }
    }

    /// Whether positions are missing.
    pub(crate) fn is_sparse(self) -> bool {
        self.patches.is_some()
    }

    /// The positions there are: as many images, of as many positions as each has in memory.
    pub(crate) fn positions(self) -> Images {
        match self.patches {
            None => self.maps,
            Some(Patches { side, visible, .. }) => {
                Images { height: visible * side, width: side, ..self.maps }
            }
        }
    }

    /// The field of some of the images.
    pub(crate) fn part(self, images: Range<usize>) -> Self {
        let maps = Images { batch: images.len(), ..self.maps };
        let patches = self.patches.map(|patches| {
            let per_image = patches.slots.len() / self.maps.batch.max(1);
            Patches { slots: &patches.slots[images.start * per_image..images.end * per_image], ..patches }
        });
        Self { maps, patches }
    }

    /// The parts of a map's row that are in memory.
    #[inline(always)]
    pub(crate) fn segments(self, image: usize, row: usize) -> Segments<'a> {
        let Images { height, width, .. } = self.maps;
        match self.patches {
            None => Segments {
                slots: &[],
                side: width,
                column: 0,
                first: (image * height + row) * width,
                step: 0,
            },
            Some(Patches { slots, columns, side, visible }) => {
                let start = (image * (height / side) + row / side) * columns;
                Segments {
                    slots: &slots[start..start + columns],
                    side,
                    column: 0,
                    first: (image * visible * side + row % side) * side,
                    step: side * side,
                }
            }
        }
    }

    /// The columns of a map's row whose results are wanted, neighbours in one run.
    #[inline(always)]
    pub(crate) fn runs(self, image: usize, row: usize) -> Runs<'a> {
        Runs { segments: self.segments(image, row), waiting: None }
    }
}

/// A part of a map's row that lies together in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Segment {
    /// Its first column of the map.
    pub(crate) column: usize,
    /// Columns.
    pub(crate) len: usize,
    /// Where its first position lies, counted from the first of the batch.
    pub(crate) position: usize,
}

/// See [`Field::segments`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Segments<'a> {
    /// Those of the patches to come; none where the row is whole.
    slots: &'a [u32],
    side: usize,
    column: usize,
    /// The position of this row in the image's first visible patch, and from a patch to the next.
    first: usize,
    step: usize,
}

impl Iterator for Segments<'_> {
    type Item = Segment;

    #[inline(always)]
    fn next(&mut self) -> Option<Segment> {
        if self.step == 0 {
            let len = self.side;
            self.side = 0;
            return (len > 0).then_some(Segment { column: 0, len, position: self.first });
        }
        while let [slot, rest @ ..] = self.slots {
            self.slots = rest;
            let column = self.column;
            self.column += self.side;
            if *slot != Mask::HIDDEN {
                let position = self.first + *slot as usize * self.step;
                return Some(Segment { column, len: self.side, position });
            }
        }
        None
    }
}

/// See [`Field::runs`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Runs<'a> {
    segments: Segments<'a>,
    waiting: Option<Segment>,
}

impl Iterator for Runs<'_> {
    type Item = Range<usize>;

    #[inline(always)]
    fn next(&mut self) -> Option<Range<usize>> {
        let Segment { column, len, .. } = match self.waiting.take() {
            Some(segment) => segment,
            None => self.segments.next()?,
        };
        let mut run = column..column + len;
        for segment in self.segments.by_ref() {
            if segment.column > run.end {
                self.waiting = Some(segment);
                break;
            }
            run.end += segment.len;
        }
        Some(run)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_row_is_one_segment() {
        let field = Field::whole(Images { batch: 2, height: 3, width: 5, channels: 1 });
        let segments: Vec<_> = field.segments(1, 2).collect();
        assert_eq!(segments, [Segment { column: 0, len: 5, position: 25 }]);
        assert!(field.runs(1, 2).eq(std::iter::once(0..5)));
    }

    #[test]
    fn rows_of_visible_patches_lie_a_patch_apart_and_neighbours_are_one_run() {
        // Of the second image the patches 1, 2, 4 and 5 are visible of 2 x 4: the first row has two, side by side.
        let hidden = [true, false, true, false, false, true, true, false];
        let hidden = [hidden, [true, false, false, true, false, false, true, true]].concat();
        let mask = Mask::from_hidden(&hidden, [2, 4]);
        let field = Field::visible(&mask, 2, 7);
        assert_eq!(field.positions().positions(), 4 * 4);
        let segments: Vec<_> = field.segments(1, 1).collect();
        // Row 1 of the map is the second row of its patches, two positions after their beginning.
        let first = Segment { column: 2, len: 2, position: 16 + 2 };
        assert_eq!(segments, [first, Segment { column: 4, len: 2, position: 16 + 4 + 2 }]);
        assert!(field.runs(1, 1).eq(std::iter::once(2..6)));
        assert_eq!(field.runs(0, 0).collect::<Vec<_>>(), [2..4, 6..8]);
        let second = field.part(1..2);
        assert_eq!(second.segments(0, 3).next(), Some(Segment { column: 0, len: 2, position: 2 * 4 + 2 }));
    }
}
