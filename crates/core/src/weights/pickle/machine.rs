//! The stack machine that a pickle is a program for (`pickletools` of Python describes every instruction), without those
//! instructions that make objects. Values stand in one list and name each other by their places in it, so what a pickle
//! uses twice is there once, and no nesting is too deep.

use super::describe::{Global, Storage, View};
use std::collections::HashMap;

/// Place of a value.
pub type Id = usize;

/// A value.
#[derive(Clone)]
pub enum Node {
    /// `None`, truth values, fractions, numbers too large to be sizes: nothing that is looked at.
    Other,
    Int(i64),
    Text(String),
    Tuple(Vec<Id>),
    List(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    Global(Global),
    Storage(Storage),
    Tensor(View),
}

/// What a pickle describes.
pub struct Pickle {
    nodes: Vec<Node>,
    root: Id,
}

impl Pickle {
    /// The outermost value.
    pub fn root(&self) -> Id {
        self.root
    }
    /// A value.
    pub fn node(&self, id: Id) -> &Node {
        &self.nodes[id]
    }
}

/// Follows a pickle to its end, or says what in it cannot be.
pub fn run(program: &[u8]) -> Result<Pickle, String> {
    let mut machine = Machine {
        rest: program,
        ..Machine::default()
    };
    loop {
        let at = program.len() - machine.rest.len();
        if machine
            .step()
            .map_err(|why| format!("{why} (byte {at} of its pickle)"))?
        {
            break;
        }
    }
    let root = machine.pop()?;
    Ok(Pickle {
        nodes: machine.nodes,
        root,
    })
}

#[derive(Default)]
pub(super) struct Machine<'a> {
    rest: &'a [u8],
    pub nodes: Vec<Node>,
    pub stack: Vec<Id>,
    marks: Vec<usize>,
    memo: HashMap<u32, Id>,
}

pub(super) type Step<T = ()> = Result<T, String>;

impl<'a> Machine<'a> {
    /// One instruction; true after the last. Those of protocol 2, which `torch.save` writes, and what of protocol 4
    /// says the same.
    fn step(&mut self) -> Step<bool> {
        let [code] = self.array()?;
        match code {
            0x80 => drop(self.array::<1>()?), // protocol
            0x95 => drop(self.array::<8>()?), // length of a frame
            b'.' => return Ok(true),
            b'(' => self.marks.push(self.stack.len()),
            b'N' | 0x88 | 0x89 => self.push(Node::Other),
            b'G' => {
                self.array::<8>()?;
                self.push(Node::Other);
            }
            b'J' => {
                let number = i32::from_le_bytes(self.array()?);
                self.push(Node::Int(number.into()));
            }
            b'K' => {
                let [number] = self.array()?;
                self.push(Node::Int(number.into()));
            }
            b'M' => {
                let number = u16::from_le_bytes(self.array()?);
                self.push(Node::Int(number.into()));
            }
            0x8a => self.long()?,
            b'X' => {
                let len = u32::from_le_bytes(self.array()?);
                self.text(len as usize)?;
            }
            0x8c => {
                let [len] = self.array()?;
                self.text(len.into())?;
            }
            b')' => self.push(Node::Tuple(vec![])),
            b']' => self.push(Node::List(vec![])),
            b'}' => self.push(Node::Dict(vec![])),
            b't' => {
                let items = self.since_mark()?;
                self.push(Node::Tuple(items));
            }
            0x85..=0x87 => {
                let items = self.last(usize::from(code - 0x84))?;
                self.push(Node::Tuple(items));
            }
            b'a' | b'e' | b's' | b'u' => self.fill(code)?,
            b'q' => {
                let [place] = self.array()?;
                self.put(place.into())?;
            }
            b'r' => {
                let place = u32::from_le_bytes(self.array()?);
                self.put(place)?;
            }
            0x94 => self.put(self.memo.len() as u32)?,
            b'h' => {
                let [place] = self.array()?;
                self.get(place.into())?;
            }
            b'j' => {
                let place = u32::from_le_bytes(self.array()?);
                self.get(place)?;
            }
            b'c' => {
                let (module, name) = (self.line()?, self.line()?);
                self.push(Node::Global(Global::named(&module, &name)?));
            }
            0x93 => {
                let (name, module) = (self.pop()?, self.pop()?);
                let global = Global::named(self.as_text(module)?, self.as_text(name)?)?;
                self.push(Node::Global(global));
            }
            b'Q' => self.storage()?,
            b'R' => self.call()?,
            b'b' => {
                // The attributes of a dictionary, such as the versions of a state dict's modules: not looked at.
                self.pop()?;
                let of = *self.stack.last().ok_or_else(broken)?;
                if !matches!(self.nodes[of], Node::Dict(_)) {
                    return Err("it gives attributes to something that is no dictionary".into());
                }
            }
            other => {
                return Err(format!(
                    "it has the instruction {other:#04x}, which no state dict needs"
                ));
            }
        }
        Ok(false)
    }
    fn take(&mut self, len: usize) -> Step<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(len).ok_or_else(broken)?;
        self.rest = rest;
        Ok(taken)
    }
    fn array<const N: usize>(&mut self) -> Step<[u8; N]> {
        Ok(self.take(N)?.try_into().expect("as long as asked for"))
    }
    fn line(&mut self) -> Step<String> {
        let len = self.rest.iter().position(|byte| *byte == b'\n').ok_or_else(broken)?;
        let line = self.take(len + 1)?;
        Ok(String::from_utf8_lossy(&line[..len]).into_owned())
    }
    pub fn push(&mut self, node: Node) {
        self.stack.push(self.nodes.len());
        self.nodes.push(node);
    }
    pub fn pop(&mut self) -> Step<Id> {
        self.stack.pop().ok_or_else(broken)
    }
    fn last(&mut self, count: usize) -> Step<Vec<Id>> {
        let from = self.stack.len().checked_sub(count).ok_or_else(broken)?;
        Ok(self.stack.split_off(from))
    }
    fn since_mark(&mut self) -> Step<Vec<Id>> {
        let mark = self.marks.pop().filter(|mark| *mark <= self.stack.len());
        Ok(self.stack.split_off(mark.ok_or_else(broken)?))
    }
    fn put(&mut self, place: u32) -> Step {
        let top = *self.stack.last().ok_or_else(broken)?;
        self.memo.insert(place, top);
        Ok(())
    }
    fn get(&mut self, place: u32) -> Step {
        self.stack.push(*self.memo.get(&place).ok_or_else(broken)?);
        Ok(())
    }
    /// An integer of so many bytes.
    fn long(&mut self) -> Step {
        let [len] = self.array()?;
        let bytes = self.take(len.into())?;
        let fill = if bytes.last().is_some_and(|byte| *byte >= 0x80) {
            0xff
        } else {
            0
        };
        let mut number = [fill; 8];
        self.push(match number.get_mut(..bytes.len()) {
            Some(low) => {
                low.copy_from_slice(bytes);
                Node::Int(i64::from_le_bytes(number))
            }
            None => Node::Other,
        });
        Ok(())
    }
    fn text(&mut self, len: usize) -> Step {
        let text = String::from_utf8_lossy(self.take(len)?).into_owned();
        self.push(Node::Text(text));
        Ok(())
    }
    /// Adds one item to a list (`a`) or dictionary (`s`), or all since the mark (`e`, `u`).
    fn fill(&mut self, code: u8) -> Step {
        let items = match code {
            b'a' => self.last(1)?,
            b's' => self.last(2)?,
            _ => self.since_mark()?,
        };
        let into = *self.stack.last().ok_or_else(broken)?;
        match (&mut self.nodes[into], items.as_chunks::<2>()) {
            (Node::List(list), _) => list.extend(items),
            (Node::Dict(dict), (pairs, [])) => dict.extend(pairs.iter().map(|[key, value]| (*key, *value))),
            _ => return Err(broken()),
        }
        Ok(())
    }
    pub fn items(&self, id: Id) -> Step<&[Id]> {
        match &self.nodes[id] {
            Node::Tuple(items) | Node::List(items) => Ok(items),
            _ => Err(broken()),
        }
    }
    pub fn as_text(&self, id: Id) -> Step<&str> {
        match &self.nodes[id] {
            Node::Text(text) => Ok(text),
            _ => Err(broken()),
        }
    }
    pub fn as_size(&self, id: Id) -> Step<usize> {
        match self.nodes[id] {
            Node::Int(size) => size.try_into().map_err(|_| broken()),
            _ => Err(broken()),
        }
    }
}

pub(super) fn broken() -> String {
    "its pickle is cut short or makes no sense".into()
}
