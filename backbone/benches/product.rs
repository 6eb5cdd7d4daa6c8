//! How fast this machine multiplies matrices, all threads together: `cargo bench -p cvx-backbone --bench product`.
//!
//! What a network's multiply-adds take at this speed is the floor of its time, in the README's table. (Winograd's
//! convolutions take fewer products than are counted there, and may go below.)

use std::hint::black_box;
use std::sync::Barrier;
use std::time::Instant;

use cvx_backbone::ops::cpu::matmul::{Matrix, Write, multiply};

/// Side of the three matrices of a thread.
const SIDE: usize = 1024;

/// Products that are timed together.
const PRODUCTS: usize = 4;

fn main() {
    let mut seconds: Vec<f64> = (0..15)
        .map(|_| {
            let start = Barrier::new(rayon::current_num_threads());
            let each = rayon::broadcast(|_| one_thread(&start));
            each.into_iter().fold(0.0, f64::max)
        })
        .collect();
    seconds.sort_by(f64::total_cmp);
    let threads = rayon::current_num_threads();
    let operations = 2.0 * (threads * SIDE.pow(3) * PRODUCTS) as f64;
    let speed = |seconds: f64| operations / seconds / 1e9;
    println!(
        "{threads} threads: {:.0} GFLOP/s, median of 15; at most {:.0}",
        speed(seconds[7]),
        speed(seconds[0])
    );
}

/// Seconds for [`PRODUCTS`] products, matrices made before and all threads begun.
fn one_thread(start: &Barrier) -> f64 {
    let left: Vec<f32> = (0..SIDE * SIDE).map(|index| (index % 7) as f32).collect();
    let right: Vec<f32> = (0..SIDE * SIDE).map(|index| (index % 5) as f32).collect();
    let mut output = vec![0.0; SIDE * SIDE];
    start.wait();
    let begin = Instant::now();
    for _ in 0..PRODUCTS {
        let (left, right) = (Matrix::rows(&left, SIDE), Matrix::rows(&right, SIDE));
        multiply([SIDE; 3], &mut output, SIDE, Write::Replace, left, right);
        black_box(&mut output);
    }
    begin.elapsed().as_secs_f64()
}
