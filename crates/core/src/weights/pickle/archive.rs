//! The zip archive around a pickle: where its entries lie in the file.

use rawzip::{CompressionMethod, ZipArchive};
use std::collections::HashMap;
use std::ops::Range;

/// How the files of `torch.save` began before PyTorch 1.6: `0x1950a86a20f9469cfc6c` as a pickle of its own.
const LEGACY: [u8; 10] = [0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19];

/// Bytes at the beginning among which they stand, behind the pickle's head.
const LEGACY_WITHIN: usize = 32;

/// A file of `torch.save`.
pub struct Archive {
    /// Where the pickle lies.
    pub pickle: Range<usize>,
    data: HashMap<String, Entry>, // by the key of a storage
}

enum Entry {
    Stored(Range<usize>),
    Compressed,
}

impl Archive {
    /// Looks where everything lies, or says why that cannot be had.
    pub fn of(file: &[u8]) -> Result<Archive, String> {
        let head = &file[..file.len().min(LEGACY_WITHIN)];
        if head.windows(LEGACY.len()).any(|bytes| bytes == LEGACY) {
            return Err("it was written by PyTorch before 1.6, or in that format: a stream of pickles".into());
        }
        if !file.starts_with(b"PK\x03\x04") {
            return Err("it is not the zip archive that PyTorch writes".into());
        }
        let broken = |why: rawzip::Error| format!("its zip archive is not complete ({why}): download it again");
        let archive = ZipArchive::from_slice(file).map_err(broken)?;
        let (mut entries, mut found) = (archive.entries(), HashMap::new());
        while let Some(entry) = entries.next_entry().map_err(broken)? {
            let name = String::from_utf8_lossy(entry.file_path().as_bytes()).into_owned();
            let is_plain = entry.compression_method() == CompressionMethod::STORE
                && entry.compressed_size_hint() == entry.uncompressed_size_hint();
            let (from, to) = archive
                .get_entry(entry.wayfinder())
                .map_err(broken)?
                .compressed_data_range();
            let place = match is_plain {
                true => Entry::Stored(from as usize..to as usize),
                false => Entry::Compressed,
            };
            found.insert(name, place);
        }
        // Everything lies in one folder, named after the file or `archive`.
        let roots = found.keys().filter_map(|name| name.strip_suffix("data.pkl"));
        let root = roots.min_by_key(|root| root.len()).map(str::to_string);
        let root = root.ok_or("its zip archive holds no `data.pkl`: it is not one of PyTorch's")?;
        let Some(Entry::Stored(pickle)) = found.remove(&format!("{root}data.pkl")) else {
            return Err(compressed("data.pkl"));
        };
        if let Some(Entry::Stored(order)) = found.get(&format!("{root}byteorder"))
            && file[order.clone()] != *b"little"
        {
            return Err("its numbers are in big-endian order".into());
        }
        let data = format!("{root}data/");
        let keyed = |(name, entry): (String, Entry)| Some((name.strip_prefix(&data)?.to_string(), entry));
        Ok(Archive {
            pickle,
            data: found.into_iter().filter_map(keyed).collect(),
        })
    }
    /// Where the numbers of a storage lie.
    pub fn data(&self, key: &str) -> Result<Range<usize>, String> {
        match self.data.get(key) {
            Some(Entry::Stored(place)) => Ok(place.clone()),
            Some(Entry::Compressed) => Err(compressed(&format!("data/{key}"))),
            None => Err(format!("its zip archive holds no `data/{key}`: download it again")),
        }
    }
}

fn compressed(entry: &str) -> String {
    format!("`{entry}` in it is compressed, which PyTorch does not do")
}
