//! A TDS client just large enough to look at the wire: it asks for Always Encrypted, sends encrypted parameters with
//! made-up cells, and reads what COLMETADATA really says.
#![allow(dead_code)]

mod large;

use always_encrypted_sandbox::Sandbox;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

pub fn utf16(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

/// What the server says of a column.
#[derive(Debug, Clone, PartialEq)]
pub struct Column {
    pub name: String,
    pub user_type: u32,
    pub flags: u16,
    pub ty: Type,
    /// Of text, ntext and image.
    pub table: Vec<String>,
    /// CEK ordinal, base type, algorithm, encryption type, normalisation version.
    pub crypto: Option<(u16, Type, u8, u8, u8)>,
}

/// TYPE_INFO: token, length (0xFFFF is PLP), precision, scale, collation.
#[derive(Debug, Clone, PartialEq)]
pub struct Type {
    pub token: u8,
    pub length: u32,
    pub precision: u8,
    pub scale: u8,
    pub collation: [u8; 5],
}

#[derive(Debug, Clone, PartialEq)]
pub struct Cek {
    pub database_id: u32,
    pub id: u32,
    pub version: u32,
    pub md_version: [u8; 8],
    /// Encrypted value, provider, path, algorithm.
    pub values: Vec<(Vec<u8>, String, String, String)>,
}

#[derive(Debug, Clone, Default)]
pub struct ResultSet {
    pub ceks: Vec<Cek>,
    pub columns: Vec<Column>,
    pub rows: Vec<Vec<Option<Vec<u8>>>>,
    /// Rows that came as NBCROW.
    pub bitmaps: usize,
}

impl ResultSet {
    /// Rows as text: NULL, integers, strings, and hexadecimal digits of the rest.
    pub fn shown(&self) -> Vec<Vec<String>> {
        let row = |row: &Vec<Option<Vec<u8>>>| {
            row.iter().zip(&self.columns).map(|(value, column)| show(value, &column.ty)).collect()
        };
        self.rows.iter().map(row).collect()
    }

    /// Names of the columns.
    pub fn names(&self) -> Vec<&str> {
        self.columns.iter().map(|column| column.name.as_str()).collect()
    }
}

fn show(value: &Option<Vec<u8>>, ty: &Type) -> String {
    let Some(bytes) = value else { return "NULL".to_owned() };
    match ty.token {
        0xE7 | 0xEF => {
            let units: Vec<u16> =
                bytes.chunks(2).map(|c| u16::from_le_bytes([c[0], c[1]])).collect();
            String::from_utf16_lossy(&units)
        }
        0xA7 | 0xAF => bytes.iter().map(|b| char::from(*b)).collect(),
        0x26 if bytes.len() == 1 => bytes[0].to_string(),
        0x26 | 0x68 => {
            let mut wide = [if bytes.last().is_some_and(|b| b & 0x80 != 0) { 0xFF } else { 0 }; 8];
            wide[..bytes.len()].copy_from_slice(bytes);
            i64::from_le_bytes(wide).to_string()
        }
        _ => bytes.iter().map(|b| format!("{b:02x}")).collect(),
    }
}

/// A RETURNVALUE.
#[derive(Debug, Clone, PartialEq)]
pub struct Output {
    pub ordinal: u16,
    pub name: String,
    pub flags: u16,
    pub ty: Type,
    /// Base type, algorithm, encryption type, normalisation version.
    pub crypto: Option<(Type, u8, u8, u8)>,
    pub value: Option<Vec<u8>>,
}

#[derive(Debug, Clone, Default)]
pub struct Reply {
    pub sets: Vec<ResultSet>,
    /// Number, class, text.
    pub errors: Vec<(i32, u8, String)>,
    /// The same of INFO.
    pub infos: Vec<(i32, u8, String)>,
    /// Token, status, row count.
    pub dones: Vec<(u8, u16, u64)>,
    /// Their CurCmd.
    pub commands: Vec<u16>,
    pub return_status: Option<i32>,
    /// RETURNVALUEs that are integers: handles.
    pub return_values: Vec<i32>,
    /// All of them.
    pub outputs: Vec<Output>,
    /// ENVCHANGE types.
    pub changes: Vec<u8>,
    pub features: Option<Vec<(u8, Vec<u8>)>>,
}

impl Reply {
    pub fn numbers(&self) -> Vec<i32> {
        self.errors.iter().map(|e| e.0).collect()
    }

    #[track_caller]
    pub fn ok(self) -> Self {
        assert!(self.errors.is_empty(), "{:?}", self.errors);
        self
    }

    pub fn affected(&self) -> u64 {
        self.dones.iter().filter(|d| d.1 & 0x10 != 0).map(|d| d.2).sum()
    }
}

struct Reader<'a> {
    rest: &'a [u8],
    ae: bool,
}

impl<'a> Reader<'a> {
    fn n(&mut self, n: usize) -> &'a [u8] {
        let (head, tail) = self.rest.split_at(n);
        self.rest = tail;
        head
    }
    fn u8(&mut self) -> u8 {
        self.n(1)[0]
    }
    fn u16(&mut self) -> u16 {
        u16::from_le_bytes(self.n(2).try_into().unwrap())
    }
    fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.n(4).try_into().unwrap())
    }
    fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.n(8).try_into().unwrap())
    }
    fn text(&mut self, units: usize) -> String {
        let units: Vec<u16> =
            self.n(units * 2).chunks(2).map(|c| u16::from_le_bytes([c[0], c[1]])).collect();
        String::from_utf16(&units).unwrap()
    }
    fn b_varchar(&mut self) -> String {
        let n = self.u8();
        self.text(n.into())
    }
    fn us_varchar(&mut self) -> String {
        let n = self.u16();
        self.text(n.into())
    }

    fn ty(&mut self) -> Type {
        let token = self.u8();
        let mut ty = Type { token, length: 0, precision: 0, scale: 0, collation: [0; 5] };
        match token {
            0x28 => {}
            0x29..=0x2B => ty.scale = self.u8(),
            0x24 | 0x26 | 0x68 | 0x6D | 0x6E | 0x6F => ty.length = self.u8().into(),
            0x6A | 0x6C => {
                ty.length = self.u8().into();
                ty.precision = self.u8();
                ty.scale = self.u8();
            }
            0xA5 | 0xAD => ty.length = self.u16().into(),
            0xA7 | 0xAF | 0xE7 | 0xEF => {
                ty.length = self.u16().into();
                ty.collation = self.n(5).try_into().unwrap();
            }
            other => self.large_type(&mut ty).unwrap_or_else(|| panic!("type {other:#x}")),
        }
        ty
    }

    fn value(&mut self, ty: &Type) -> Option<Vec<u8>> {
        if let Some(value) = self.large_value(ty) {
            return value;
        }
        match ty.token {
            0xA5 | 0xA7 | 0xE7 | 0xF1 if ty.length == 0xFFFF => {
                let total = self.u64();
                if total == u64::MAX {
                    return None;
                }
                let mut value = Vec::new();
                loop {
                    let n = self.u32();
                    if n == 0 {
                        break;
                    }
                    value.extend_from_slice(self.n(n as usize));
                }
                assert_eq!(total, value.len() as u64);
                Some(value)
            }
            0xA5 | 0xAD | 0xA7 | 0xAF | 0xE7 | 0xEF => match self.u16() {
                0xFFFF => None,
                n => Some(self.n(n.into()).to_vec()),
            },
            _ => match self.u8() {
                0 => None,
                n => Some(self.n(n.into()).to_vec()),
            },
        }
    }

    fn set(&mut self) -> ResultSet {
        let count = self.u16();
        let mut set = ResultSet::default();
        if self.ae {
            for _ in 0..self.u16() {
                let (database_id, id, version) = (self.u32(), self.u32(), self.u32());
                let md_version = self.n(8).try_into().unwrap();
                let mut values = Vec::new();
                for _ in 0..self.u8() {
                    let n = self.u16();
                    let encrypted = self.n(n.into()).to_vec();
                    values.push((encrypted, self.b_varchar(), self.us_varchar(), self.b_varchar()));
                }
                set.ceks.push(Cek { database_id, id, version, md_version, values });
            }
        }
        for _ in 0..count {
            let user_type = self.u32();
            let flags = self.u16();
            let ty = self.ty();
            let table = self.table_name(&ty);
            let mut crypto = None;
            if self.ae && flags & 0x0800 != 0 {
                let ordinal = self.u16();
                self.u32();
                crypto = Some((ordinal, self.ty(), self.u8(), self.u8(), self.u8()));
            }
            let name = self.b_varchar();
            set.columns.push(Column { name, user_type, flags, ty, table, crypto });
        }
        set
    }

    fn output(&mut self) -> Output {
        let ordinal = self.u16();
        let name = self.b_varchar();
        assert_eq!(self.u8(), 1, "an output parameter");
        self.u32();
        let flags = self.u16();
        let ty = self.ty();
        let mut crypto = None;
        if self.ae && flags & 0x0800 != 0 {
            self.u32();
            crypto = Some((self.ty(), self.u8(), self.u8(), self.u8()));
        }
        let value = self.value(&ty);
        Output { ordinal, name, flags, ty, crypto, value }
    }

    fn reply(mut self) -> Reply {
        let mut reply = Reply::default();
        while !self.rest.is_empty() {
            match self.u8() {
                0x81 => {
                    let set = self.set();
                    reply.sets.push(set);
                }
                0xD1 => {
                    let types: Vec<Type> =
                        reply.sets.last().unwrap().columns.iter().map(|c| c.ty.clone()).collect();
                    let row = types.iter().map(|ty| self.value(ty)).collect();
                    reply.sets.last_mut().unwrap().rows.push(row);
                }
                0xD2 => {
                    let set = reply.sets.last_mut().unwrap();
                    set.bitmaps += 1;
                    let bitmap = self.n(set.columns.len().div_ceil(8));
                    let null = |i: usize| bitmap[i / 8] >> (i % 8) & 1 != 0;
                    let columns = set.columns.iter().enumerate();
                    let row = columns
                        .map(|(i, column)| if null(i) { None } else { self.value(&column.ty) })
                        .collect();
                    set.rows.push(row);
                }
                token @ 0xFD..=0xFF => {
                    let status = self.u16();
                    reply.commands.push(self.u16());
                    reply.dones.push((token, status, self.u64()));
                }
                0x79 => reply.return_status = Some(self.u32() as i32),
                token @ (0xAA | 0xAB) => {
                    self.u16();
                    let number = self.u32() as i32;
                    self.u8();
                    let class = self.u8();
                    let text = self.us_varchar();
                    self.b_varchar();
                    self.b_varchar();
                    self.u32();
                    let list = if token == 0xAA { &mut reply.errors } else { &mut reply.infos };
                    list.push((number, class, text));
                }
                0xAC => {
                    let output = self.output();
                    if let (0x26, Some(value)) = (output.ty.token, &output.value) {
                        let number = value.clone().try_into().map(i32::from_le_bytes);
                        reply.return_values.extend(number);
                    }
                    reply.outputs.push(output);
                }
                0xAD => {
                    let n = self.u16();
                    self.n(n.into());
                }
                0xAE => {
                    let mut features = Vec::new();
                    loop {
                        let id = self.u8();
                        if id == 0xFF {
                            break;
                        }
                        let n = self.u32();
                        features.push((id, self.n(n as usize).to_vec()));
                    }
                    self.ae = features.iter().any(|(id, _)| *id == 4);
                    reply.features = Some(features);
                }
                0xE3 => {
                    let n = self.u16();
                    reply.changes.push(self.n(n.into())[0]);
                }
                other => panic!("token {other:#x}"),
            }
        }
        reply
    }
}

/// A parameter of an RPC, ready for the wire.
#[derive(Debug, Clone)]
pub struct Param(pub Vec<u8>);

impl Param {
    fn head(name: &str, status: u8) -> Vec<u8> {
        let mut out = vec![name.encode_utf16().count() as u8];
        out.extend(utf16(name));
        out.push(status);
        out
    }

    pub fn text(name: &str, value: &str) -> Self {
        let mut out = Self::head(name, 0);
        out.extend([0xE7, 0xFF, 0xFF, 0x09, 0x04, 0xD0, 0x00, 0x34]);
        let bytes = utf16(value);
        out.extend((bytes.len() as u64).to_le_bytes());
        if !bytes.is_empty() {
            out.extend((bytes.len() as u32).to_le_bytes());
            out.extend(bytes);
        }
        out.extend(0u32.to_le_bytes());
        Self(out)
    }

    pub fn int(name: &str, value: i32) -> Self {
        let mut out = Self::head(name, 0);
        out.extend([0x26, 4, 4]);
        out.extend(value.to_le_bytes());
        Self(out)
    }

    /// As an output.
    pub fn by_ref(mut self) -> Self {
        let status = 1 + 2 * usize::from(self.0[0]);
        self.0[status] |= 1;
        self
    }

    pub fn null(name: &str) -> Self {
        let mut out = Self::head(name, 0);
        out.push(0x1F);
        Self(out)
    }

    /// As mssql-jdbc sends it up to 8000 bytes, as SqlClient does beyond.
    pub fn encrypted(name: &str, cell: Option<&[u8]>, base: &[u8], scheme: &Scheme) -> Self {
        let mut out = Self::head(name, 8);
        match cell {
            None => out.extend([0xA5, 0x40, 0x1F, 0xFF, 0xFF]),
            Some(cell) if cell.len() <= 8000 => {
                out.extend([0xA5, 0x40, 0x1F]);
                out.extend((cell.len() as u16).to_le_bytes());
                out.extend_from_slice(cell);
            }
            Some(cell) => {
                out.extend([0xA5, 0xFF, 0xFF]);
                out.extend(u64::MAX.wrapping_sub(1).to_le_bytes());
                for chunk in cell.chunks(7001) {
                    out.extend((chunk.len() as u32).to_le_bytes());
                    out.extend_from_slice(chunk);
                }
                out.extend(0u32.to_le_bytes());
            }
        }
        out.extend_from_slice(base);
        out.extend([scheme.algorithm, scheme.kind]);
        out.extend(scheme.database_id.to_le_bytes());
        out.extend(scheme.cek_id.to_le_bytes());
        out.extend(scheme.cek_version.to_le_bytes());
        out.extend(scheme.md_version);
        out.push(scheme.norm);
        Self(out)
    }
}

/// What the trailer of an encrypted parameter says.
#[derive(Debug, Clone)]
pub struct Scheme {
    pub algorithm: u8,
    pub kind: u8,
    pub database_id: u32,
    pub cek_id: u32,
    pub cek_version: u32,
    pub md_version: [u8; 8],
    pub norm: u8,
}

/// A well-formed cell that holds nothing.
pub fn cell(blocks: usize, fill: u8) -> Vec<u8> {
    let mut cell = vec![fill; 49 + 16 * blocks];
    cell[0] = 1;
    cell
}

/// A bulk load message in the making.
#[derive(Debug, Clone)]
pub struct Bulk(pub Vec<u8>);

impl Bulk {
    /// With an empty table of keys if Always Encrypted was acknowledged.
    pub fn new(ae: bool) -> Self {
        Self(if ae { vec![0x81, 0, 0, 0, 0] } else { vec![0x81, 0, 0] })
    }

    /// A key of the table; before the first column.
    pub fn key(mut self, scheme: &Scheme) -> Self {
        self.0[3] += 1;
        for number in [scheme.database_id, scheme.cek_id, scheme.cek_version] {
            self.0.extend(number.to_le_bytes());
        }
        self.0.extend(scheme.md_version);
        self.0.push(0);
        self
    }

    pub fn column(mut self, name: &str, ty: &[u8], crypto: Option<(u16, &[u8], &Scheme)>) -> Self {
        self.0[1] += 1;
        self.0.extend([0, 0, 0, 0, 9, if crypto.is_some() { 8 } else { 0 }]);
        self.0.extend_from_slice(ty);
        if let Some((ordinal, base, scheme)) = crypto {
            self.0.extend(ordinal.to_le_bytes());
            self.0.extend([0; 4]);
            self.0.extend_from_slice(base);
            self.0.extend([scheme.algorithm, scheme.kind, scheme.norm]);
        }
        self.0.push(name.len() as u8);
        self.0.extend(utf16(name));
        self
    }

    pub fn row(mut self, values: &[&[u8]]) -> Self {
        self.0.push(0xD1);
        self.0.extend(values.concat());
        self
    }
}

pub struct Wire {
    pub tcp: TcpStream,
    pub ae: bool,
    pub packet_size: usize,
}

const HEADERS: [u8; 22] = [22, 0, 0, 0, 18, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0];

impl Wire {
    /// Logs in, asking for Always Encrypted of this version, or not at all.
    pub async fn connect(sandbox: &Sandbox, version: Option<u8>) -> Self {
        let (wire, reply) =
            Self::login(sandbox, sandbox.user(), sandbox.password(), version, 4096).await;
        reply.ok();
        wire
    }

    pub async fn raw(sandbox: &Sandbox) -> Self {
        let tcp = TcpStream::connect(sandbox.addr()).await.unwrap();
        Self { tcp, ae: false, packet_size: 4096 }
    }

    pub async fn login(
        sandbox: &Sandbox,
        user: &str,
        password: &str,
        version: Option<u8>,
        packet_size: u32,
    ) -> (Self, Reply) {
        let mut wire = Self::raw(sandbox).await;
        wire.send(0x12, &[0, 0, 11, 0, 6, 1, 0, 17, 0, 1, 0xFF, 16, 0, 0, 0, 0, 0, 2]).await;
        wire.receive_payload().await;
        wire.send(0x10, &login7(user, password, version, packet_size)).await;
        let reply = wire.receive().await;
        wire.ae = reply.features.iter().flatten().any(|(id, _)| *id == 4);
        wire.packet_size = packet_size as usize;
        (wire, reply)
    }

    pub async fn send(&mut self, kind: u8, payload: &[u8]) {
        let room = self.packet_size - 8;
        let mut chunks = payload.chunks(room).peekable();
        let mut out = Vec::new();
        if payload.is_empty() {
            out.extend([kind, 1, 0, 8, 0, 0, 1, 0]);
        }
        while let Some(chunk) = chunks.next() {
            let last = u8::from(chunks.peek().is_none());
            out.extend([kind, last]);
            out.extend((chunk.len() as u16 + 8).to_be_bytes());
            out.extend([0, 0, 1, 0]);
            out.extend_from_slice(chunk);
        }
        self.tcp.write_all(&out).await.unwrap();
    }

    pub async fn receive_payload(&mut self) -> Vec<u8> {
        let mut payload = Vec::new();
        loop {
            let mut header = [0; 8];
            self.tcp.read_exact(&mut header).await.unwrap();
            let length = usize::from(u16::from_be_bytes([header[2], header[3]]));
            assert!(length <= self.packet_size, "a packet larger than agreed");
            let at = payload.len();
            payload.resize(at + length - 8, 0);
            self.tcp.read_exact(&mut payload[at..]).await.unwrap();
            if header[1] & 1 != 0 {
                return payload;
            }
        }
    }

    pub async fn receive(&mut self) -> Reply {
        let payload = self.receive_payload().await;
        Reader { rest: &payload, ae: self.ae }.reply()
    }

    pub fn batch_payload(sql: &str) -> Vec<u8> {
        [&HEADERS[..], &utf16(sql)].concat()
    }

    pub async fn batch(&mut self, sql: &str) -> Reply {
        self.send(1, &Self::batch_payload(sql)).await;
        self.receive().await
    }

    pub async fn load(&mut self, bulk: Bulk) -> Reply {
        let done = [0xFD, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        self.send(7, &[&bulk.0[..], &done].concat()).await;
        self.receive().await
    }

    pub fn call_by_id(id: u16, params: &[Param]) -> Vec<u8> {
        let mut out = vec![0xFF, 0xFF];
        out.extend(id.to_le_bytes());
        out.extend([0, 0]);
        out.extend(params.iter().flat_map(|p| p.0.clone()));
        out
    }

    pub fn call_by_name(name: &str, params: &[Param]) -> Vec<u8> {
        let mut out = (name.len() as u16).to_le_bytes().to_vec();
        out.extend(utf16(name));
        out.extend([0, 0]);
        out.extend(params.iter().flat_map(|p| p.0.clone()));
        out
    }

    pub async fn rpc(&mut self, calls: &[Vec<u8>]) -> Reply {
        let payload = [&HEADERS[..], &calls.join(&0xFF)].concat();
        self.send(3, &payload).await;
        self.receive().await
    }

    /// sp_executesql.
    pub async fn execute(&mut self, sql: &str, declarations: &str, params: &[Param]) -> Reply {
        let mut all = vec![Param::text("", sql), Param::text("", declarations)];
        all.extend_from_slice(params);
        self.rpc(&[Self::call_by_id(10, &all)]).await
    }

    pub async fn describe(&mut self, sql: &str, declarations: &str) -> Reply {
        let params = [Param::text("", sql), Param::text("", declarations)];
        self.rpc(&[Self::call_by_name("sp_describe_parameter_encryption", &params)]).await
    }

    /// The trailers that describe asks for, in the order of the declarations; None for plaintext.
    pub async fn schemes(&mut self, sql: &str, declarations: &str) -> Vec<Option<Scheme>> {
        let reply = self.describe(sql, declarations).await.ok();
        let number = |bytes: &Option<Vec<u8>>| {
            bytes.as_ref().unwrap().iter().rev().fold(0u32, |n, b| n << 8 | u32::from(*b))
        };
        let keys = &reply.sets[0].rows;
        let scheme = |row: &Vec<Option<Vec<u8>>>| {
            let key = keys.iter().find(|key| number(&key[0]) == number(&row[4]))?;
            Some(Scheme {
                algorithm: number(&row[2]) as u8,
                kind: number(&row[3]) as u8,
                database_id: number(&key[1]),
                cek_id: number(&key[2]),
                cek_version: number(&key[3]),
                md_version: key[4].clone().unwrap().try_into().unwrap(),
                norm: number(&row[5]) as u8,
            })
        };
        reply.sets[1].rows.iter().map(scheme).collect()
    }
}

fn login7(user: &str, password: &str, version: Option<u8>, packet_size: u32) -> Vec<u8> {
    let mut data = Vec::new();
    let mut table = Vec::new();
    let mut field = |table: &mut Vec<u8>, bytes: Vec<u8>| {
        table.extend((94 + data.len() as u16).to_le_bytes());
        table.extend((bytes.len() as u16 / 2).to_le_bytes());
        data.extend(bytes);
    };
    let scrambled: Vec<u8> = utf16(password).iter().map(|b| b.rotate_left(4) ^ 0xA5).collect();
    for text in [utf16("host"), utf16(user), scrambled, utf16("wire"), utf16("server")] {
        field(&mut table, text);
    }
    let at = table.len();
    field(&mut table, vec![0; 4]);
    for text in ["lib", "", "sandbox"] {
        field(&mut table, utf16(text));
    }
    table.extend([0; 22]);
    let pointer = usize::from(u16::from_le_bytes([table[at], table[at + 1]])) - 94;
    if let Some(version) = version {
        let offset = 94 + data.len() as u32;
        data[pointer..pointer + 4].copy_from_slice(&offset.to_le_bytes());
        data.extend([0x04, 1, 0, 0, 0, version, 0x09, 1, 0, 0, 0, 1, 0xFF]);
    }
    let mut out = ((94 + data.len()) as u32).to_le_bytes().to_vec();
    out.extend(0x7400_0004u32.to_le_bytes());
    out.extend(packet_size.to_le_bytes());
    out.extend([0; 12]);
    out.extend([0xE0, 0x03, 0, if version.is_some() { 0x10 } else { 0 }]);
    out.extend([0; 8]);
    assert_eq!(out.len(), 36);
    out.extend(table);
    assert_eq!(out.len(), 94);
    out.extend(data);
    out
}
