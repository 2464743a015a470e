"""What clients send, taken apart: packets, PRELOGIN, LOGIN7 and calls (MS-TDS 2.2)."""

import struct

PRELOGIN, LOGIN7, BATCH, RPC, REPLY, BULK = 0x12, 0x10, 0x01, 0x03, 0x04, 0x07
ENCRYPT_OFF, ENCRYPT_ON, ENCRYPT_NOT_SUP, ENCRYPT_REQ = 0, 1, 2, 3
COLUMNENCRYPTION = 0x04
FEATURES = {
    0x01: "SESSIONRECOVERY",
    0x02: "FEDAUTH",
    0x04: "COLUMNENCRYPTION",
    0x05: "GLOBALTRANSACTIONS",
    0x08: "AZURESQLSUPPORT",
    0x09: "DATACLASSIFICATION",
    0x0A: "UTF8_SUPPORT",
    0x0B: "AZURESQLDNSCACHING",
    0x0D: "JSONSUPPORT",
    0x0E: "VECTORSUPPORT",
    0x0F: "ENHANCEDROUTING",
    0x10: "USERAGENT",
}
PROCEDURES = {10: "sp_executesql", 11: "sp_prepare", 12: "sp_execute", 13: "sp_prepexec", 15: "sp_unprepare"}
ENCRYPTED = 0x08
COLUMN_ENCRYPTED = 0x0800
COLMETADATA, ROW, DONE = 0x81, 0xD1, 0xFD
MAX = 0xFFFF
NULL_PLP = 0xFFFFFFFFFFFFFFFF
BY_NAME = 0xFFFF
BATCH_SEPARATORS = (0xFF, 0xFE, 0x80)


class Reader:
    def __init__(self, data, at=0):
        self.data, self.at = data, at

    def left(self):
        return len(self.data) - self.at

    def take(self, count):
        if count > self.left():
            raise ValueError(f"{count} bytes wanted at {self.at}, {self.left()} there")
        self.at += count
        return self.data[self.at - count : self.at]

    def number(self, form):
        return struct.unpack(form, self.take(struct.calcsize(form)))[0]

    def u8(self):
        return self.number("<B")

    def u16(self):
        return self.number("<H")

    def u32(self):
        return self.number("<I")

    def u64(self):
        return self.number("<Q")

    def short_text(self):
        return self.take(2 * self.u8()).decode("utf-16-le")


def prelogin_encryption(payload):
    """Where the byte of the option ENCRYPTION stands."""
    reader = Reader(payload)
    while (option := reader.u8()) != 0xFF:
        offset, _ = reader.number(">H"), reader.number(">H")
        if option == 1:
            return offset
    raise ValueError("PRELOGIN without ENCRYPTION")


def login_features(payload):
    """The features of a LOGIN7: (where the id stands, id, data)."""
    if not payload[27] & 0x10:
        return []
    pointer = struct.unpack_from("<H", payload, 56)[0]
    reader = Reader(payload, struct.unpack_from("<I", payload, pointer)[0])
    features = []
    while True:
        at = reader.at
        if (feature := reader.u8()) == 0xFF:
            return features
        features.append((at, feature, reader.take(reader.u32())))


def read_type(reader):
    """A TYPE_INFO: its bytes."""
    start = reader.at
    token = reader.u8()
    if token in (0x1F, 0x28, 0x30, 0x32, 0x34, 0x38, 0x3A, 0x3B, 0x3C, 0x3D, 0x3E, 0x7A, 0x7F):
        pass
    elif token in (0x24, 0x26, 0x68, 0x6D, 0x6E, 0x6F, 0x29, 0x2A, 0x2B):
        reader.take(1)
    elif token in (0x6A, 0x6C):
        reader.take(3)
    elif token in (0xA5, 0xAD):
        reader.take(2)
    elif token in (0xA7, 0xAF, 0xE7, 0xEF):
        reader.take(7)
    elif token == 0x63 or token == 0x23:
        reader.take(9)
    else:
        raise ValueError(f"type {token:#x}")
    return reader.data[start : reader.at]


FIXED = {0x1F: 0, 0x30: 1, 0x32: 1, 0x34: 2, 0x38: 4, 0x3A: 4, 0x3B: 4, 0x3C: 8, 0x3D: 8, 0x3E: 8, 0x7A: 4, 0x7F: 8}


def read_value(reader, type_info):
    """A value: None for NULL, or its bytes; and how it is framed."""
    token = type_info[0]
    if token in FIXED:
        return reader.take(FIXED[token]), "fixed"
    if token in (0xA5, 0xAD, 0xA7, 0xAF, 0xE7, 0xEF):
        if struct.unpack_from("<H", type_info, 1)[0] != MAX:
            length = reader.u16()
            return (None, "short") if length == MAX else (reader.take(length), "short")
        total = reader.u64()
        if total == NULL_PLP:
            return None, "PLP"
        data = b""
        while chunk := reader.u32():
            data += reader.take(chunk)
        return data, "PLP" if total == len(data) else "PLP, length unknown"
    if token in (0x63, 0x23):
        length = reader.u32()
        return (None, "long") if length == 0xFFFFFFFF else (reader.take(length), "long")
    length = reader.u8()
    return (reader.take(length), "byte") if length else (None, "byte")


def read_parameter(reader):
    parameter = {"name": reader.short_text(), "status": reader.u8()}
    parameter["type"] = read_type(reader)
    parameter["value"], parameter["framing"] = read_value(reader, parameter["type"])
    if parameter["status"] & ENCRYPTED:
        cipher = {"type": read_type(reader), "algorithm": reader.u8()}
        if cipher["algorithm"] == 0:
            cipher["algorithm"] = reader.short_text()
        cipher["encryption"] = reader.u8()
        cipher["database"], cipher["key"], cipher["version"] = reader.u32(), reader.u32(), reader.u32()
        cipher["metadata version"] = reader.take(8)
        cipher["normalization"] = reader.u8()
        parameter["cipher"] = cipher
    return parameter


def calls(payload):
    """The calls of an RPC message: name, flags, headers and parameters."""
    headers = payload[4 : struct.unpack_from("<I", payload)[0]]
    reader = Reader(payload, struct.unpack_from("<I", payload)[0])
    found = []
    while reader.left():
        length = reader.u16()
        if length == BY_NAME:
            number = reader.u16()
            name, by = PROCEDURES.get(number, str(number)), "number"
        else:
            name, by = reader.take(2 * length).decode("utf-16-le"), "name"
        call = {"procedure": name, "by": by, "headers": headers, "flags": reader.u16(), "parameters": []}
        while reader.left() and payload[reader.at] not in BATCH_SEPARATORS:
            call["parameters"].append(read_parameter(reader))
        if reader.left():
            reader.take(1)
        found.append(call)
    return found


def batch(payload):
    """The text of a batch."""
    return payload[struct.unpack_from("<I", payload)[0] :].decode("utf-16-le")


def read_keys(reader):
    """The CekTable: for each key its database, id, version, metadata version and number of values."""
    keys = []
    for _ in range(reader.u16()):
        key = [reader.u32(), reader.u32(), reader.u32(), reader.take(8), reader.u8()]
        for _ in range(key[4]):
            reader.take(reader.u16())
            reader.short_text()
            reader.take(2 * reader.u16())
            reader.short_text()
        keys.append(key)
    return keys


def read_column(reader):
    column = {"user type": reader.u32(), "flags": reader.u16(), "type": read_type(reader)}
    if column["flags"] & COLUMN_ENCRYPTED:
        cipher = {"ordinal": reader.u16(), "user type": reader.u32(), "type": read_type(reader)}
        cipher["algorithm"] = reader.u8() or reader.short_text()
        cipher["encryption"], cipher["normalization"] = reader.u8(), reader.u8()
        column["cipher"] = cipher
    column["name"] = reader.short_text()
    return column


def bulk(payload):
    """A bulk load: keys, columns, rows of (value, framing), and how it ends."""
    reader = Reader(payload)
    if reader.u8() != COLMETADATA:
        raise ValueError("a bulk load without COLMETADATA")
    count = reader.u16()
    keys = read_keys(reader)
    columns = [read_column(reader) for _ in range(count)]
    rows = []
    while (token := reader.u8()) == ROW:
        rows.append([read_value(reader, column["type"]) for column in columns])
    if token != DONE:
        raise ValueError(f"token {token:#x} in a bulk load")
    return {"keys": keys, "columns": columns, "rows": rows, "end": reader.take(reader.left())}


def text(parameter):
    """The text of an nvarchar or ntext parameter."""
    return (parameter["value"] or b"").decode("utf-16-le")
