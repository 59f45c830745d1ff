//! How far a cached video is from the uncached one of the same prompt and seed. One file a metric.
//!
//! Frames come straight from the VAE, unless they are asked to go [`through`] something. The definitions are those of TeaCache's and PAB's
//! evaluation scripts (`common_metrics`), so that numbers compare with published tables.

pub mod flicker;
pub mod frechet;
pub mod i3d;
mod latent;
pub mod lpips;
mod motion;
pub mod ms_ssim;
pub mod psnr;
pub mod ssim;
pub mod through;

pub use latent::relative_l2;

use crate::schema::RunRow;
use anyhow::{Result, bail, ensure};
use burn::tensor::Device;
use lpips::Lpips;

/// A decoded video, RGB in [0, 1].
#[derive(Clone, Debug, PartialEq)]
pub struct Frames {
    /// Frames.
    pub count: usize,
    /// Pixels.
    pub height: usize,
    /// Pixels.
    pub width: usize,
    /// `// [t, h, w, c]`, c = red, green, blue
    pub data: Vec<f32>,
}

/// A metric of frames against reference frames.
pub struct Metric {
    /// Column it is recorded in.
    pub column: &'static str,
    /// The value, or none where the metric is not defined for frames of this size.
    pub measure: Measure,
    /// The field of the row behind `column`.
    pub field: fn(&mut RunRow) -> &mut Option<f64>,
}

/// How a metric is worked out, of frames and reference frames.
pub enum Measure {
    /// On the host.
    Host(fn(&Frames, &Frames) -> Option<f64>),
    /// By a network on the device of the model.
    Device(fn(&Meter, &Frames, &Frames) -> Option<f64>),
}

/// All metrics of frames. A new one is a file, a line here, and a column in the schema.
pub const METRICS: &[Metric] = &[
    Metric {
        column: "psnr_db",
        measure: Measure::Host(psnr::mean_of_frames),
        field: |row| &mut row.psnr_db,
    },
    Metric {
        column: "psnr_pooled_db",
        measure: Measure::Host(psnr::pooled),
        field: |row| &mut row.psnr_pooled_db,
    },
    Metric {
        column: "ssim",
        measure: Measure::Host(ssim::mean_of_frames),
        field: |row| &mut row.ssim,
    },
    Metric {
        column: "ms_ssim",
        measure: Measure::Host(ms_ssim::mean_of_frames),
        field: |row| &mut row.ms_ssim,
    },
    Metric {
        column: "lpips",
        measure: Measure::Device(|meter, frames, reference| meter.lpips.mean_of_frames(frames, reference)),
        field: |row| &mut row.lpips,
    },
    Metric {
        column: "flicker_error",
        measure: Measure::Host(flicker::error),
        field: |row| &mut row.flicker_error,
    },
    Metric {
        column: "warping_error",
        measure: Measure::Host(flicker::warping_error),
        field: |row| &mut row.warping_error,
    },
];

/// What it takes to measure: the network behind LPIPS, on a device.
pub struct Meter {
    /// The network.
    pub lpips: Lpips,
}

impl Meter {
    /// Unpacks the network onto a device.
    pub fn new(device: &Device) -> Meter {
        let lpips = Lpips::new(device);
        Meter { lpips }
    }

    /// Measures `frames` against `reference` by every metric and writes the values into `row`.
    ///
    /// # Errors
    /// If the two differ in size or count: nothing is cropped or resized.
    pub fn measure(&self, row: &mut RunRow, frames: &Frames, reference: &Frames) -> Result<()> {
        self.measure_on_device(row, frames, reference)?;
        measure_on_host(row, frames, reference);
        Ok(())
    }

    /// The same by those metrics alone that are worked out on the device.
    ///
    /// # Errors
    /// As of [`Meter::measure`].
    pub fn measure_on_device(&self, row: &mut RunRow, frames: &Frames, reference: &Frames) -> Result<()> {
        ensure!(
            frames.size() == reference.size(),
            "frames [t, h, w] = {:?} cannot be compared with a reference of {:?}",
            frames.size(),
            reference.size()
        );
        for metric in METRICS {
            if let Measure::Device(measure) = metric.measure {
                *(metric.field)(row) = measure(self, frames, reference);
            }
        }
        Ok(())
    }
}

/// Measures `frames` against a `reference` of the same size by the metrics that need no device.
pub fn measure_on_host(row: &mut RunRow, frames: &Frames, reference: &Frames) {
    for metric in METRICS {
        if let Measure::Host(measure) = metric.measure {
            *(metric.field)(row) = measure(frames, reference);
        }
    }
}

impl Frames {
    /// Frames from `data` `// [t, h, w, 3]` with values in [0, 1].
    ///
    /// # Errors
    /// If the length does not fit the size, or a value is not finite (a diverged run has no quality).
    pub fn new(count: usize, height: usize, width: usize, data: Vec<f32>) -> Result<Frames> {
        let frames = Frames {
            count,
            height,
            width,
            data,
        };
        let expected = count * frames.frame_len();
        ensure!(
            frames.data.len() == expected && expected > 0,
            "{count} frames of {height}x{width} RGB are {expected} numbers, found {}",
            frames.data.len()
        );
        frames.ensure_finite()?;
        Ok(frames)
    }

    /// Refuses frames of a run that has diverged, which a picture might not show.
    ///
    /// # Errors
    /// Naming the first frame with a value that is not finite.
    pub fn ensure_finite(&self) -> Result<()> {
        match self.data.iter().position(|x| !x.is_finite()) {
            Some(at) => bail!("frame {} holds {}", at / self.frame_len(), self.data[at]),
            None => Ok(()),
        }
    }

    /// Frames, height, width.
    pub fn size(&self) -> [usize; 3] {
        [self.count, self.height, self.width]
    }

    /// Frame `t`. `// [h, w, c]`
    pub fn frame(&self, t: usize) -> &[f32] {
        &self.data[t * self.frame_len()..(t + 1) * self.frame_len()]
    }

    fn frame_len(&self) -> usize {
        self.height * self.width * 3
    }
}

#[cfg(test)]
mod tests;
