//! Where the numbers of a tensor stand in a mapped file, in whichever order.

use super::Part;
use safetensors::tensor::{Dtype, TensorInfo};
use std::borrow::Cow;

/// A tensor in a file.
pub(super) struct Stored {
    /// Type of its numbers.
    pub dtype: Dtype,
    /// Its shape.
    pub shape: Vec<usize>,
    start: usize,        // byte of its first number
    strides: Vec<usize>, // numbers from one index of an axis to the next
}

impl Stored {
    /// As safetensors keeps it: in row-major order, in a file whose tensors begin at byte `data`.
    pub fn of(info: &TensorInfo, data: usize) -> Stored {
        let mut strides = vec![1; info.shape.len()];
        for axis in (1..info.shape.len()).rev() {
            strides[axis - 1] = strides[axis] * info.shape[axis];
        }
        Stored {
            dtype: info.dtype,
            shape: info.shape.clone(),
            start: data + info.data_offsets.0,
            strides,
        }
    }
    /// A view of a storage that begins at byte `start` and holds `len` numbers: from its number `offset` on, with these
    /// strides. None where the view leaves the storage, or shows numbers of it twice.
    pub fn view(
        dtype: Dtype,
        [start, len]: [usize; 2],
        offset: usize,
        shape: Vec<usize>,
        strides: Vec<usize>,
    ) -> Option<Stored> {
        let count = shape.iter().try_fold(1usize, |all, n| all.checked_mul(*n))?;
        let reach = shape.iter().zip(&strides).try_fold(offset, |last, (n, stride)| {
            last.checked_add(n.saturating_sub(1).checked_mul(*stride)?)
        })?;
        let is_inside = count == 0 || (reach < len && count <= len);
        (is_inside && shape.len() == strides.len()).then(|| Stored {
            dtype,
            shape,
            start: start + if count == 0 { 0 } else { offset * bytes_of(dtype) },
            strides,
        })
    }
    /// Its bytes in row-major order, or those of a part of it; copied where they do not stand in a row in the file.
    pub fn bytes<'a>(&self, file: &'a [u8], part: Option<Part>) -> Cow<'a, [u8]> {
        let (mut shape, mut start, size) = (self.shape.clone(), self.start, bytes_of(self.dtype));
        if let Some(part) = part {
            shape[part.axis] = part.len;
            start += part.start * self.strides[part.axis] * size;
        }
        let count: usize = shape.iter().product();
        if count == 0 {
            return Cow::Borrowed(&[]);
        }
        // The last axes, as far as their numbers stand in a row, are copied at once.
        let (mut outer, mut row) = (shape.len(), 1);
        while outer > 0 && (shape[outer - 1] == 1 || self.strides[outer - 1] == row) {
            outer -= 1;
            row *= shape[outer];
        }
        if outer == 0 {
            return Cow::Borrowed(&file[start..start + count * size]);
        }
        let mut bytes = Vec::with_capacity(count * size);
        let mut index = vec![0; outer];
        for _ in 0..count / row {
            let at: usize = index.iter().zip(&self.strides).map(|(i, stride)| i * stride).sum();
            bytes.extend_from_slice(&file[start + at * size..][..row * size]);
            for axis in (0..outer).rev() {
                index[axis] += 1;
                if index[axis] < shape[axis] {
                    break;
                }
                index[axis] = 0;
            }
        }
        Cow::Owned(bytes)
    }
}

/// Bytes of a number.
pub(super) fn bytes_of(dtype: Dtype) -> usize {
    dtype.bitsize() / 8
}
