//! What `torch.save` would write, without PyTorch: of safetensors, for tests that need a whole checkpoint.

use rawzip::{CompressionMethod, ZipArchiveWriter};
use safetensors::SafeTensors;
use safetensors::tensor::Dtype;
use std::fs;
use std::io::Write;
use std::path::Path;

/// Writes the tensors of a safetensors file as `torch.save` does: a state dict, under a key of its own where `beneath`
/// gives one, every name of it as `renamed` makes it, every tensor in a storage of its own.
pub fn save(safetensors: &Path, beneath: Option<&str>, renamed: impl Fn(&str) -> String, to: &Path) {
    let bytes = fs::read(safetensors).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap().tensors();
    let mut pickle = b"\x80\x02}".to_vec(); // protocol 2, a dictionary
    if let Some(key) = beneath {
        text(&mut pickle, key);
        pickle.push(b'}');
    }
    for (i, (name, tensor)) in tensors.iter().enumerate() {
        text(&mut pickle, &renamed(name));
        let (storage, dtype) = match tensor.dtype() {
            Dtype::F32 => ("torch\nFloatStorage", None),
            Dtype::BF16 => ("torch\nBFloat16Storage", None),
            Dtype::F8_E4M3 => ("torch.storage\nUntypedStorage", Some("float8_e4m3fn")),
            Dtype::F8_E5M2 => ("torch.storage\nUntypedStorage", Some("float8_e5m2")),
            other => panic!("{name} is {other:?}"),
        };
        let version = if dtype.is_some() { 3 } else { 2 };
        pickle.extend(format!("ctorch._utils\n_rebuild_tensor_v{version}\n((").bytes());
        text(&mut pickle, "storage");
        pickle.extend(format!("c{storage}\n").bytes());
        text(&mut pickle, &i.to_string());
        text(&mut pickle, "cpu");
        let shape = tensor.shape();
        int(&mut pickle, shape.iter().product());
        pickle.push(b't'); // the end of what names a storage
        pickle.push(b'Q');
        int(&mut pickle, 0); // the first number
        for strides in [false, true] {
            pickle.push(b'(');
            for axis in 0..shape.len() {
                let stride = shape[axis + 1..].iter().product();
                int(&mut pickle, if strides { stride } else { shape[axis] });
            }
            pickle.push(b't');
        }
        pickle.extend(b"\x89N"); // was not trained, has no hooks
        pickle.extend(
            dtype
                .map(|dtype| format!("ctorch\n{dtype}\n"))
                .unwrap_or_default()
                .bytes(),
        );
        pickle.extend(b"tRs"); // called with all that; into the dictionary
    }
    pickle.extend(if beneath.is_some() { &b"s."[..] } else { b"." });

    let mut archive = ZipArchiveWriter::new(fs::File::create(to).unwrap());
    let mut add = |name: String, data: &[u8]| {
        let (mut entry, config) = archive
            .new_file(format!("archive/{name}"))
            .compression_method(CompressionMethod::STORE)
            .start()
            .unwrap();
        let mut writer = config.wrap(&mut entry);
        writer.write_all(data).unwrap();
        let (_, descriptor) = writer.finish().unwrap();
        entry.finish(descriptor).unwrap();
    };
    add("data.pkl".into(), &pickle);
    add("byteorder".into(), b"little");
    add("version".into(), b"3\n");
    for (i, (_, tensor)) in tensors.iter().enumerate() {
        add(format!("data/{i}"), tensor.data());
    }
    archive.finish().unwrap();
}

fn text(pickle: &mut Vec<u8>, text: &str) {
    pickle.push(b'X');
    pickle.extend((text.len() as u32).to_le_bytes());
    pickle.extend(text.bytes());
}

fn int(pickle: &mut Vec<u8>, number: usize) {
    pickle.push(b'J');
    pickle.extend((number as i32).to_le_bytes());
}
