//! Truth and detections sorted into cells: one image, or one image and category.

use std::cmp::Ordering;
use std::collections::HashMap;

use rayon::prelude::*;

use crate::coco::Annotation;
use crate::coco_ap::{Batch, CocoEvaluator, UNLISTED};
use crate::coco_results::ResultEntry;

/// The rank of every id among the distinct ids.
pub(crate) enum Ranks {
    /// By id, [`UNLISTED`] for what is no id; for small ids.
    Table(Vec<u32>),
    /// For all others.
    Map(HashMap<u64, u32>),
}

impl Ranks {
    pub(crate) fn new(ids: impl Iterator<Item = u64>) -> Self {
        let mut sorted: Vec<u64> = ids.collect();
        sorted.sort_unstable();
        sorted.dedup();
        let ranked = sorted.iter().enumerate().map(|(rank, &id)| (id, rank as u32));
        match sorted.last() {
            Some(&last) if last < 1 << 16 => {
                let mut table = vec![UNLISTED; last as usize + 1];
                ranked.for_each(|(id, rank)| table[id as usize] = rank);
                Self::Table(table)
            }
            _ => Self::Map(ranked.collect()),
        }
    }

    pub(crate) fn get(&self, id: u64) -> Option<u32> {
        match self {
            Self::Table(table) => {
                let rank = usize::try_from(id).ok().and_then(|id| table.get(id))?;
                (*rank != UNLISTED).then_some(*rank)
            }
            Self::Map(map) => map.get(&id).copied(),
        }
    }

    /// Number of distinct ids.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Table(table) => table.iter().filter(|&&rank| rank != UNLISTED).count(),
            Self::Map(map) => map.len(),
        }
    }
}

/// An annotation of a listed image and category.
#[derive(Clone, Copy)]
pub(crate) struct Truth<'a> {
    /// Ranks.
    pub(crate) image: u32,
    pub(crate) category: u32,
    pub(crate) annotation: &'a Annotation,
    pub(crate) is_crowd: bool,
}

/// A detection of a listed image and category.
#[derive(Clone, Copy)]
pub(crate) struct Found<'a> {
    /// Ranks.
    pub(crate) image: u32,
    pub(crate) category: u32,
    pub(crate) batch: &'a Batch,
    pub(crate) entry: &'a ResultEntry,
    /// Unmatched it is no false alarm.
    pub(crate) is_excused: bool,
}

/// Images by rank; within one, truth as in the file and detections by falling score, ties as they were added.
#[derive(Default)]
pub(crate) struct Group<'a> {
    pub(crate) truths: Vec<Truth<'a>>,
    pub(crate) found: Vec<Found<'a>>,
}

/// What a group holds of one image.
#[derive(Clone, Copy)]
pub(crate) struct Cell<'g, 'a> {
    /// Its rank.
    pub(crate) image: u32,
    pub(crate) truths: &'g [Truth<'a>],
    pub(crate) found: &'g [Found<'a>],
}

impl CocoEvaluator<'_> {
    /// A group for every category, by rank.
    pub(crate) fn by_category(&self) -> Vec<Group<'_>> {
        let mut counts = vec![0; self.category_ranks.len()];
        let ranks = self.batches.iter().flat_map(|batch| batch.ranks.iter().flatten());
        for &[_, category] in ranks.filter(|ranks| ranks[1] != UNLISTED) {
            counts[category as usize] += 1;
        }
        let group = |count: &usize| Group { truths: Vec::new(), found: Vec::with_capacity(*count) };
        let mut groups: Vec<Group<'_>> = counts.iter().map(group).collect();
        self.listed_truths().for_each(|truth| groups[truth.category as usize].truths.push(truth));
        self.listed_detections().for_each(|found| groups[found.category as usize].found.push(found));
        groups.par_iter_mut().for_each(Group::sort);
        groups
    }

    /// All categories in one group.
    pub(crate) fn together(&self) -> Group<'_> {
        let mut group =
            Group { truths: self.listed_truths().collect(), found: self.listed_detections().collect() };
        group.sort();
        group
    }

    pub(crate) fn listed_truths(&self) -> impl Iterator<Item = Truth<'_>> {
        self.truth.annotations.iter().filter_map(|annotation| {
            let category = self.category_ranks.get(annotation.category_id)?;
            let image = self.image_ranks.get(annotation.image_id)?;
            Some(Truth { image, category, annotation, is_crowd: annotation.iscrowd })
        })
    }

    fn listed_detections(&self) -> impl Iterator<Item = Found<'_>> {
        self.all_detections().filter(|found| found.category != UNLISTED)
    }

    /// Those of unlisted categories too.
    pub(crate) fn all_detections(&self) -> impl Iterator<Item = Found<'_>> {
        self.batches.iter().flat_map(|batch| {
            let entries = batch.results.blocks.iter().flatten();
            entries.zip(batch.ranks.iter().flatten()).map(move |(entry, &[image, category])| Found {
                image,
                category,
                batch,
                entry,
                is_excused: false,
            })
        })
    }
}

impl<'a> Group<'a> {
    pub(crate) fn sort(&mut self) {
        self.truths.sort_by_key(|truth| truth.image);
        // One image after the other is how they come, mostly, which this sort is quick to see.
        self.found.sort_by_key(|found| found.image);
        for of_image in self.found.chunk_by_mut(|a, b| a.image == b.image) {
            of_image.sort_by(|a, b| falling(a.entry.score, b.entry.score));
        }
    }

    /// The images that hold something, by rank.
    pub(crate) fn cells(&self) -> Vec<Cell<'_, 'a>> {
        let (mut truths, mut found) = (self.truths.as_slice(), self.found.as_slice());
        let mut cells = Vec::with_capacity(truths.len().max(found.len()));
        loop {
            let first_truth = truths.first().map(|truth| truth.image);
            let first_found = found.first().map(|found| found.image);
            let Some(image) = first_truth.into_iter().chain(first_found).min() else { return cells };
            let num_truths = truths.iter().take_while(|truth| truth.image == image).count();
            let num_found = found.iter().take_while(|found| found.image == image).count();
            let (here, other_truths) = truths.split_at(num_truths);
            let (found_here, other_found) = found.split_at(num_found);
            cells.push(Cell { image, truths: here, found: found_here });
            (truths, found) = (other_truths, other_found);
        }
    }
}

/// Falling scores. They are finite, so they compare; a negative zero equals zero, as in numpy.
pub(crate) fn falling(a: f64, b: f64) -> Ordering {
    b.partial_cmp(&a).unwrap_or(Ordering::Equal)
}
