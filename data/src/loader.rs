//! Reads, transforms and batches samples on worker threads, in an order that does not depend on them.
//!
//! Workers take samples in the order in which they will be wanted, and may run ahead of the caller by
//! a bounded number of batches, so memory is bounded. The random numbers of a sample depend on (seed,
//! epoch, index) alone. Hence any number of workers, none included, gives the same batches.

use std::any::Any;
use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use crate::sample::{DataError, Dataset, Sample};
use crate::sampler::{BatchSampler, Stream, stream_rng};
use crate::transforms::Pipeline;

/// A data set, what is done to its samples, and how they are batched.
pub struct Loader {
    dataset: Arc<dyn Dataset>,
    pipeline: Arc<Pipeline>,
    sampler: BatchSampler,
    workers: usize,
    prefetch: usize,
}

/// Most threads of an epoch: each costs memory, and no machine reads images faster with more.
pub const MOST_WORKERS: usize = 256;

impl Loader {
    /// With `workers` threads an epoch, but no more than [`MOST_WORKERS`], than there are samples, or
    /// than the system starts; 0 does all work in the calling thread, when a batch is asked for, and
    /// so it is done if not one can be started. Workers keep at most two batches ready, or as many as
    /// give each of them a sample.
    pub fn new(
        dataset: Arc<dyn Dataset>,
        pipeline: Arc<Pipeline>,
        sampler: BatchSampler,
        workers: usize,
    ) -> Self {
        let workers = workers.min(MOST_WORKERS);
        let prefetch = workers.div_ceil(sampler.batch_size()).max(2);
        Self { dataset, pipeline, sampler, workers, prefetch }
    }

    /// Changes how many batches may be in memory besides the one in the caller's hands.
    ///
    /// # Panics
    /// When `batches` is zero.
    #[must_use]
    pub fn with_prefetch(self, batches: usize) -> Self {
        assert!(batches > 0, "workers need room for one batch");
        Self { prefetch: batches, ..self }
    }

    /// Number of batches in an epoch.
    pub fn batches_per_epoch(&self) -> usize {
        self.sampler.batches_per_epoch()
    }

    /// The batches of an epoch, without the first `skip_batches`, which a resumed run has seen.
    pub fn epoch(&self, epoch: u64, skip_batches: usize) -> Epoch {
        let mut batches = self.sampler.batches(epoch);
        batches.drain(..skip_batches.min(batches.len()));
        let job = Job {
            dataset: Arc::clone(&self.dataset),
            pipeline: Arc::clone(&self.pipeline),
            seed: self.sampler.seed(),
            epoch,
            batches,
        };
        let shared = Arc::new(Shared {
            job,
            prefetch: self.prefetch,
            progress: Mutex::new(Progress::default()),
            room: Condvar::new(),
            ready: Condvar::new(),
        });
        let samples = shared.job.batches.iter().map(Vec::len).sum();
        let threads = start(self.workers.min(samples), |worker| {
            let shared = Arc::clone(&shared);
            std::thread::Builder::new().name(format!("loader-{worker}")).spawn(move || shared.work())
        });
        Epoch { shared, threads }
    }
}

/// Starts up to `count` workers. A system that is out of threads or memory refuses some, and those
/// that did start do the work of all.
fn start<T>(count: usize, spawn: impl FnMut(usize) -> io::Result<T>) -> Vec<T> {
    (0..count).map(spawn).map_while(Result::ok).collect()
}

/// The remaining batches of one epoch. A batch with an unreadable sample is the error of its first
/// such sample; the batches after it can still be had. Dropping it stops the workers.
pub struct Epoch {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

impl Iterator for Epoch {
    type Item = Result<Vec<Sample>, DataError>;

    /// The next batch.
    ///
    /// # Panics
    /// With the worker's own message, when reading or transforming a sample panicked.
    fn next(&mut self) -> Option<Self::Item> {
        if self.threads.is_empty() { self.shared.next_here() } else { self.shared.next_ready() }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.shared.job.batches.len() - self.shared.lock().taken;
        (left, Some(left))
    }
}

impl ExactSizeIterator for Epoch {}

impl Drop for Epoch {
    fn drop(&mut self) {
        self.shared.lock().stop = true;
        self.shared.room.notify_all();
        for thread in self.threads.drain(..) {
            // Workers catch panics of the data set, and have none of their own.
            let _ = thread.join();
        }
    }
}

/// What there is to do in an epoch.
struct Job {
    dataset: Arc<dyn Dataset>,
    pipeline: Arc<Pipeline>,
    seed: u64,
    epoch: u64,
    batches: Vec<Vec<usize>>,
}

impl Job {
    fn sample(&self, index: usize) -> Result<Sample, DataError> {
        let sample = self.dataset.get(index)?;
        let mut rng = stream_rng(self.seed, self.epoch, Stream::Sample(index));
        Ok(self.pipeline.apply(sample, &mut rng))
    }
}

/// A sample, why there is none, or the panic that met it.
type Outcome = Result<Result<Sample, DataError>, Box<dyn Any + Send>>;

/// A batch that workers are filling.
struct Slots {
    outcomes: Vec<Option<Outcome>>,
    missing: usize,
}

#[derive(Default)]
struct Progress {
    /// Batches handed to the caller.
    taken: usize,
    /// Batch and position of the next sample no worker has begun.
    next: (usize, usize),
    /// Batches begun and not yet taken; the first is number `taken`.
    begun: VecDeque<Slots>,
    /// The caller has lost interest.
    stop: bool,
}

struct Shared {
    job: Job,
    prefetch: usize,
    progress: Mutex<Progress>,
    /// A batch was taken, or the epoch was dropped.
    room: Condvar,
    /// A batch became complete.
    ready: Condvar,
}

impl Shared {
    /// No code that can panic runs under the lock, so a poisoned one is as good as any.
    fn lock(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a worker does: begin the next sample there is room for, until none is left.
    fn work(&self) {
        let mut progress = self.lock();
        loop {
            let (batch, position) = progress.next;
            if progress.stop || batch == self.job.batches.len() {
                return;
            }
            if batch >= progress.taken.saturating_add(self.prefetch) {
                progress = self.room.wait(progress).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            let indices = &self.job.batches[batch];
            if position == 0 {
                let outcomes = indices.iter().map(|_| None).collect();
                progress.begun.push_back(Slots { outcomes, missing: indices.len() });
            }
            progress.next = if position + 1 < indices.len() { (batch, position + 1) } else { (batch + 1, 0) };
            drop(progress);

            let outcome = catch_unwind(AssertUnwindSafe(|| self.job.sample(indices[position])));

            progress = self.lock();
            // A batch is only taken when complete, so this one is still among those begun.
            let place = batch - progress.taken;
            let slots = &mut progress.begun[place];
            slots.outcomes[position] = Some(outcome);
            slots.missing -= 1;
            if slots.missing == 0 {
                self.ready.notify_all();
            }
        }
    }

    /// The next batch, read in this thread.
    fn next_here(&self) -> Option<Result<Vec<Sample>, DataError>> {
        let mut progress = self.lock();
        let indices = self.job.batches.get(progress.taken)?;
        progress.taken += 1;
        drop(progress);
        Some(indices.iter().map(|&index| self.job.sample(index)).collect())
    }

    /// The next batch, when the workers have filled it.
    fn next_ready(&self) -> Option<Result<Vec<Sample>, DataError>> {
        let mut progress = self.lock();
        if progress.taken == self.job.batches.len() {
            return None;
        }
        while progress.begun.front().is_none_or(|slots| slots.missing > 0) {
            progress = self.ready.wait(progress).unwrap_or_else(PoisonError::into_inner);
        }
        let slots = progress.begun.pop_front()?;
        progress.taken += 1;
        drop(progress);
        self.room.notify_all();
        let outcomes = slots.outcomes.into_iter().flatten();
        Some(outcomes.map(|outcome| outcome.unwrap_or_else(|panic| resume_unwind(panic))).collect())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use image::{Rgb, RgbImage};

    use super::*;
    use crate::image_file::{ImageFileError, read_image};
    use crate::sample::Geometry;
    use crate::transforms::{Photometric, Transform};

    /// Samples that take different times; one may be unreadable, one may panic.
    #[derive(Default)]
    struct Slow {
        unreadable: Option<usize>,
        panics: Option<usize>,
        read: AtomicUsize,
    }

    impl Dataset for Slow {
        fn len(&self) -> usize {
            30
        }

        fn get(&self, index: usize) -> Result<Sample, DataError> {
            self.read.fetch_add(1, Ordering::SeqCst);
            std::thread::sleep(Duration::from_micros((index as u64 * 7919) % 3000));
            assert!(self.panics != Some(index), "sample {index} is cursed");
            if self.unreadable == Some(index) {
                return Err(read_image(format!("missing-{index}.png").as_ref()).unwrap_err().into());
            }
            Ok(Sample {
                image_id: index as u64,
                index,
                file: "drawn".into(),
                image: RgbImage::from_pixel(3, 2, Rgb([index as u8 * 8, 90, 200])),
                instances: Vec::new(),
                labels: None,
                geometry: Geometry::identity(3, 2),
            })
        }
    }

    fn loader(dataset: Arc<Slow>, workers: usize) -> Loader {
        let distortion = Transform::PhotometricDistortion(Photometric::default());
        let pipeline = Arc::new(Pipeline { transforms: vec![distortion] });
        Loader::new(dataset, pipeline, BatchSampler::shuffled(&[(3, 2); 30], 4, 11), workers)
    }

    fn pixels(epoch: Epoch) -> Vec<Vec<(u64, Vec<u8>)>> {
        epoch
            .map(|batch| {
                let batch = batch.unwrap();
                batch.into_iter().map(|sample| (sample.image_id, sample.image.into_raw())).collect()
            })
            .collect()
    }

    #[test]
    fn any_number_of_workers_gives_the_same_batches() {
        let alone = pixels(loader(Arc::default(), 0).epoch(2, 0));
        assert_eq!(alone.len(), 8);
        assert_ne!(alone, pixels(loader(Arc::default(), 0).epoch(3, 0)));
        for workers in [1, 4, 40] {
            assert_eq!(pixels(loader(Arc::default(), workers).epoch(2, 0)), alone, "{workers}");
        }
    }

    #[test]
    fn there_are_no_more_workers_than_samples_whatever_is_asked_for() {
        let alone = pixels(loader(Arc::default(), 0).epoch(2, 0));
        for workers in [100_000, usize::MAX] {
            let loader = loader(Arc::default(), workers);
            let epoch = loader.epoch(2, 0);
            assert_eq!(epoch.threads.len(), 30);
            assert_eq!(pixels(epoch), alone, "{workers}");
            assert_eq!(loader.epoch(2, 7).threads.len(), 2, "one batch of two samples is left");
            assert!(loader.epoch(2, 8).threads.is_empty());
            assert_eq!(pixels(loader.with_prefetch(usize::MAX).epoch(2, 0)), alone);
        }
    }

    #[test]
    fn workers_that_the_system_refuses_are_done_without() {
        let refuse_from = |first: usize| {
            move |worker| if worker < first { Ok(worker) } else { Err(io::ErrorKind::WouldBlock.into()) }
        };
        assert_eq!(start(4, refuse_from(9)), [0, 1, 2, 3]);
        assert_eq!(start(4, refuse_from(2)), [0, 1]);
        assert!(start(usize::MAX, refuse_from(0)).is_empty());
        // With no worker at all, the caller reads the batches itself.
        let mut epoch = loader(Arc::default(), 3).epoch(2, 0);
        epoch.shared.lock().stop = true;
        epoch.shared.room.notify_all();
        epoch.threads.drain(..).for_each(|thread| thread.join().unwrap());
        assert_eq!(pixels(epoch), pixels(loader(Arc::default(), 0).epoch(2, 0)));
    }

    #[test]
    fn skipped_batches_leave_the_rest_as_it_was() {
        let whole = pixels(loader(Arc::default(), 2).epoch(0, 0));
        assert_eq!(pixels(loader(Arc::default(), 2).epoch(0, 5)), whole[5..]);
        assert_eq!(loader(Arc::default(), 2).epoch(0, 99).len(), 0);
    }

    #[test]
    fn an_error_comes_in_its_turn_and_does_not_end_the_epoch() {
        for workers in [0, 4] {
            let dataset = Arc::new(Slow { unreadable: Some(17), ..Slow::default() });
            let loader = loader(dataset, workers);
            let expected = loader.sampler.batches(0).iter().position(|batch| batch.contains(&17)).unwrap();
            let results: Vec<_> = loader.epoch(0, 0).collect();
            assert_eq!(results.len(), 8);
            for (position, result) in results.iter().enumerate() {
                match result {
                    Ok(_) => assert_ne!(position, expected),
                    Err(DataError::Image(ImageFileError::Read { path, .. })) => {
                        assert_eq!((position, path.as_path()), (expected, "missing-17.png".as_ref()));
                    }
                    Err(other) => panic!("{other}"),
                }
            }
        }
    }

    #[test]
    fn a_panic_in_a_worker_is_a_panic_of_the_caller() {
        for workers in [0, 1, 4] {
            let dataset = Arc::new(Slow { panics: Some(9), ..Slow::default() });
            let epoch = loader(dataset, workers).epoch(0, 0);
            let panic = catch_unwind(AssertUnwindSafe(|| pixels(epoch))).unwrap_err();
            assert_eq!(panic.downcast_ref::<String>().unwrap(), "sample 9 is cursed");
        }
    }

    #[test]
    fn workers_run_ahead_by_the_prefetch_and_stop_when_dropped() {
        let dataset: Arc<Slow> = Arc::default();
        let mut epoch = loader(Arc::clone(&dataset), 3).with_prefetch(2).epoch(0, 0);
        epoch.next().unwrap().unwrap();
        std::thread::sleep(Duration::from_millis(100));
        // One batch of 4 was taken, two more were allowed.
        assert_eq!(dataset.read.load(Ordering::SeqCst), 12);
        drop(epoch);
        assert_eq!(Arc::strong_count(&dataset), 1, "a worker still holds the data set");
    }
}
