//! All that a pickle may ask for by name, and what it gets: descriptions, no objects.

use super::machine::{Id, Machine, Node, Step, broken};
use safetensors::tensor::Dtype;

/// What may be asked for.
#[derive(Copy, Clone)]
pub enum Global {
    /// A dictionary, of pairs if any are given.
    OrderedDict,
    /// A tuple: a shape.
    Size,
    /// A view of a storage, whose numbers have the storage's type.
    Tensor,
    /// A view of a storage of bytes, with the type of its numbers.
    TypedTensor,
    /// A tensor that was trained: the same.
    Parameter,
    /// A kind of storage; without a type, of bytes.
    Storage(Option<Dtype>),
    /// A type of numbers.
    Dtype(Dtype),
}

/// Numbers in a file, of which tensors are views.
#[derive(Clone)]
pub struct Storage {
    /// Its name.
    pub key: String,
    /// Type of its numbers; none = bytes.
    pub dtype: Option<Dtype>,
    /// How many there are.
    pub len: usize,
}

/// A tensor as a pickle describes it.
#[derive(Clone)]
pub struct View {
    /// Where its numbers lie.
    pub storage: Storage,
    /// Their type.
    pub dtype: Dtype,
    /// The first of them.
    pub offset: usize,
    /// Its shape.
    pub shape: Vec<usize>,
    /// Numbers from one index of an axis to the next.
    pub strides: Vec<usize>,
}

/// Types of numbers: PyTorch's name, that of storages of them, where there are such, and safetensors' name.
const DTYPES: [(&str, &str, Dtype); 13] = [
    ("float32", "FloatStorage", Dtype::F32),
    ("float16", "HalfStorage", Dtype::F16),
    ("bfloat16", "BFloat16Storage", Dtype::BF16),
    ("float64", "DoubleStorage", Dtype::F64),
    ("int64", "LongStorage", Dtype::I64),
    ("int32", "IntStorage", Dtype::I32),
    ("int16", "ShortStorage", Dtype::I16),
    ("int8", "CharStorage", Dtype::I8),
    ("uint8", "ByteStorage", Dtype::U8),
    ("bool", "BoolStorage", Dtype::BOOL),
    // PyTorch keeps these in storages of bytes (`torch.storage._new_dtypes`).
    ("float8_e4m3fn", "", Dtype::F8_E4M3),
    ("float8_e5m2", "", Dtype::F8_E5M2),
    ("uint16", "", Dtype::U16),
];

impl Global {
    /// What a name stands for, or that it is not known.
    pub fn named(module: &str, name: &str) -> Result<Global, String> {
        let of_torch = || {
            DTYPES.iter().find_map(|(dtype, storage, found)| match name {
                _ if name == *dtype => Some(Global::Dtype(*found)),
                _ if name == *storage => Some(Global::Storage(Some(*found))),
                _ => None,
            })
        };
        let known = match (module, name) {
            ("collections", "OrderedDict") => Some(Global::OrderedDict),
            ("torch", "Size") => Some(Global::Size),
            ("torch._utils", "_rebuild_tensor_v2") => Some(Global::Tensor),
            ("torch._utils", "_rebuild_tensor_v3") => Some(Global::TypedTensor),
            ("torch._utils", "_rebuild_parameter") => Some(Global::Parameter),
            ("torch.storage" | "torch", "UntypedStorage") => Some(Global::Storage(None)),
            ("torch", _) => of_torch(),
            _ => None,
        };
        known.ok_or_else(|| {
            format!(
                "it asks for `{module}.{name}`, which is neither a tensor nor a dictionary of them, and might be code"
            )
        })
    }
}

impl Machine<'_> {
    /// `("storage", kind, key, where it was, length)`.
    pub fn storage(&mut self) -> Step {
        let id = self.pop()?;
        let [_, kind, key, _, len] = *self.items(id)? else {
            return Err(broken());
        };
        let Node::Global(Global::Storage(dtype)) = self.nodes[kind] else {
            return Err(broken());
        };
        let (key, len) = (self.as_text(key)?.to_string(), self.as_size(len)?);
        self.push(Node::Storage(Storage { key, dtype, len }));
        Ok(())
    }
    /// Gives what is asked for with what it is given.
    pub fn call(&mut self) -> Step {
        let (given, called) = (self.pop()?, self.pop()?);
        let Node::Global(global) = self.nodes[called] else {
            return Err(broken());
        };
        let given = self.items(given)?.to_vec();
        let made = match (global, &given[..]) {
            (Global::OrderedDict, []) => Node::Dict(vec![]),
            (Global::OrderedDict, [pairs]) => {
                let pairs = self.items(*pairs)?.iter().map(|pair| match *self.items(*pair)? {
                    [key, value] => Ok((key, value)),
                    _ => Err(broken()),
                });
                Node::Dict(pairs.collect::<Step<_>>()?)
            }
            (Global::Size, [sizes]) => Node::Tuple(self.items(*sizes)?.to_vec()),
            (Global::Parameter, [tensor, ..]) if matches!(self.nodes[*tensor], Node::Tensor(_)) => {
                self.stack.push(*tensor);
                return Ok(());
            }
            (Global::Tensor, [storage, offset, shape, strides, ..]) => {
                self.view([*storage, *offset, *shape, *strides], None)?
            }
            (Global::TypedTensor, [storage, offset, shape, strides, _, _, dtype, ..]) => {
                self.view([*storage, *offset, *shape, *strides], Some(*dtype))?
            }
            _ => return Err(broken()),
        };
        self.push(made);
        Ok(())
    }
    fn view(&self, [storage, offset, shape, strides]: [Id; 4], dtype: Option<Id>) -> Step<Node> {
        let Node::Storage(storage) = &self.nodes[storage] else {
            return Err(broken());
        };
        let given = match dtype.map(|dtype| &self.nodes[dtype]) {
            None => storage.dtype,
            Some(Node::Global(Global::Dtype(dtype))) => Some(*dtype),
            Some(_) => None,
        };
        let dtype = given
            .filter(|given| storage.dtype.is_none_or(|own| own == *given))
            .ok_or_else(broken)?;
        let sizes = |id| -> Step<Vec<usize>> { self.items(id)?.iter().map(|size| self.as_size(*size)).collect() };
        Ok(Node::Tensor(View {
            dtype,
            storage: storage.clone(),
            offset: self.as_size(offset)?,
            shape: sizes(shape)?,
            strides: sizes(strides)?,
        }))
    }
}
