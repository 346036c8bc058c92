import pickle
from xml.etree.ElementTree import tostring

import pytest
from defusedxml.ElementTree import fromstring
from hypothesis import given, settings
from hypothesis import strategies as st

from maskbench.data import voc
from maskbench.data.voc import (
    MAX_XML_BYTES,
    AnnotationError,
    clean_label,
    parse_annotation,
    read_annotation,
)

BOX = "<bndbox><xmin>{}</xmin><ymin>{}</ymin><xmax>{}</xmax><ymax>{}</ymax></bndbox>"


def face(name="with_mask", box=(1, 2, 3, 4), extra=""):
    return f"<object><name>{name}</name>{BOX.format(*box)}{extra}</object>"


def document(*parts, size="<size><width>40</width><height>30</height><depth>3</depth></size>"):
    return f"<annotation><filename>a.png</filename>{size}{''.join(parts)}</annotation>".encode()


def test_everything_is_read(tmp_path):
    extra = "<pose>Left</pose><truncated>1</truncated><occluded>0</occluded><difficult>1</difficult>"
    path = tmp_path / "a.xml"
    path.write_bytes(document(face(), face("  no   mask ", (1.5, "-2", "+3e1", ".5"), extra)))
    annotation = read_annotation(path)
    assert (annotation.filename, annotation.width, annotation.height, annotation.depth) == ("a.png", 40, 30, 3)
    first, second = annotation.objects
    assert (first.name, first.box, first.pose) == ("with_mask", (1, 2, 3, 4), "Unspecified")
    assert not (first.truncated or first.occluded or first.difficult)
    assert (second.index, second.name, second.box, second.pose) == (1, "no mask", (1.5, -2, 30, 0.5), "Left")
    assert second.truncated and second.difficult and not second.occluded
    assert annotation.problems == () and annotation.stray_text == () and annotation.object_count == 2


def test_parts_of_an_object_are_not_objects():
    part = f"<part><name>nose</name>{BOX.format(9, 9, 9, 9)}</part>"
    objects = parse_annotation(document(face(extra=part)), "a.xml").objects
    assert [item.box for item in objects] == [(1, 2, 3, 4)]


@pytest.mark.parametrize(
    ("bad", "kind", "field"),
    [
        ("<object><name>a</name></object>", "box", "bndbox"),
        (f"<object>{BOX.format(1, 2, 3, 4)}</object>", "label", "name"),
        (face(name="  "), "label", "name"),
        (face(extra="<name>b</name>"), "label", "name"),
        (face(extra=BOX.format(5, 6, 7, 8)), "box", "bndbox"),
        (face(box=("NaN", 2, 3, 4)), "not_finite", "bndbox/xmin"),
        (face(box=(1, "-inf", 3, 4)), "not_finite", "bndbox/ymin"),
        (face(box=(1, 2, "1e999", 4)), "not_finite", "bndbox/xmax"),
        (face(box=(1, 2, 3, "")), "box", "bndbox/ymax"),
        (face(box=("1_000", 2, 3, 4)), "box", "bndbox/xmin"),
        (face(box=("1,5", 2, 3, 4)), "box", "bndbox/xmin"),
        (face(box=("٣", 2, 3, 4)), "box", "bndbox/xmin"),
        (face(box=("__import__('os')", 2, 3, 4)), "box", "bndbox/xmin"),
        ("<object><name>a</name><bndbox><xmin>1</xmin></bndbox></object>", "box", "bndbox/ymin"),
    ],
)
def test_one_bad_object_does_not_lose_the_others(bad, kind, field):
    annotation = parse_annotation(document(face(), bad, face("c", (5, 6, 7, 8))), "a.xml")
    assert [(item.index, item.name) for item in annotation.objects] == [(0, "with_mask"), (2, "c")]
    (problem,) = annotation.problems
    assert (problem.kind, problem.index, problem.lost) == (kind, 1, True)
    assert problem.message.startswith(f"object 1: {field} ") and "\n" not in problem.message
    assert annotation.object_count == 3


def test_optional_fields_may_be_odd_without_losing_the_object():
    annotation = parse_annotation(document(face(extra="<difficult>perhaps</difficult>"), size=""), "a.xml")
    assert len(annotation.objects) == 1 and not annotation.objects[0].difficult
    assert [(p.kind, p.lost) for p in annotation.problems] == [("flag", False), ("size", False), ("size", False)]
    assert annotation.width is None and annotation.depth is None


@pytest.mark.parametrize("width", ["0", "-4", "4.5", "wide", "9" * 5000])
def test_a_nonsense_size_is_a_problem_not_a_number(width):
    size = f"<size><width>{width}</width><height>30</height></size>"
    annotation = parse_annotation(document(face(), size=size), "a.xml")
    assert annotation.width is None and annotation.height == 30 and len(annotation.problems) == 1
    assert len(annotation.problems[0].message) < 200


def test_stray_text_is_found():
    # In the order of the elements: what follows an element is found before what its children hold.
    content = document("rm -rf", face(extra="tail")).replace(b"</annotation>", b"  end\n</annotation>")
    assert parse_annotation(content, "a.xml").stray_text == ("rm -rf", "end", "tail")


LAUGHS = b"""<?xml version="1.0"?><!DOCTYPE lolz [<!ENTITY a "lol">%s]><annotation>&k;</annotation>""" % b"".join(
    b'<!ENTITY %c "%s">' % (98 + i, b"&%c;" % (97 + i) * 10) for i in range(10)
)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (LAUGHS, "DTD"),
        (b'<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><annotation>&x;</annotation>', "DTD"),
        (b'<!DOCTYPE a SYSTEM "http://example.org/a.dtd"><annotation/>', "DTD"),
        (b"<annotation>&x;</annotation>", "not well-formed"),
        (b"<annotation><object></annotation>", "not well-formed"),
        (b"", "empty"),
        (b"  \n", "empty"),
        (b"\x89PNG\r\n\x1a\n", "not well-formed"),
        (b'<?xml version="1.0" encoding="utf-8"?><annotation>\xff\xfe</annotation>', "not well-formed"),
        (b'<?xml version="1.0" encoding="klingon"?><annotation/>', "not well-formed"),
        (b'<?xml version="1.0" encoding="shift_jis"?><annotation/>', "not well-formed"),
        (b"<annotation>\x00</annotation>", "not well-formed"),
        (b"<html/>", "root element is <html>"),
        (b"<annotation>" + b" " * MAX_XML_BYTES + b"</annotation>", "larger than"),
    ],
)
def test_hostile_and_broken_files_are_refused_in_one_line(content, said, tmp_path):
    path = tmp_path / "a.xml"
    path.write_bytes(content)
    with pytest.raises(AnnotationError, match=said) as caught:
        read_annotation(path)
    message = str(caught.value)
    assert message.startswith("a.xml: ") and "\n" not in message and len(message) < 250


def test_deep_nesting_does_not_exhaust_the_stack():
    depth = 100_000
    content = b"<annotation>" + b"<a>" * depth + b"</a>" * depth + b"</annotation>"
    assert parse_annotation(content, "a.xml").objects == ()


def test_paths_inside_are_text():
    content = document(face()).replace(b"a.png", b"../../etc/passwd")
    assert parse_annotation(content, "a.xml").filename == "../../etc/passwd"


def test_missing_file(tmp_path):
    with pytest.raises(AnnotationError, match=r"no\.xml: cannot be read"):
        read_annotation(tmp_path / "no.xml")


def test_labels_keep_their_letters():
    assert clean_label(" sin  ma\u0301scara\n") == "sin máscara"


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig", "iso-8859-1"])
def test_declared_encodings_are_understood(encoding):
    name = encoding.replace("-sig", "")
    text = f'<?xml version="1.0" encoding="{name}"?>' + document(face("máscara")).decode()
    assert parse_annotation(text.encode(encoding), "a.xml").objects[0].name == "máscara"


def test_records_travel_between_processes():
    annotation = parse_annotation(document(face()), "a.xml")
    assert pickle.loads(pickle.dumps(annotation)) == annotation


PIECES = [b"<a>", b"</a>", b"<a b='c'>", b"<a/>", b"text", b"&amp;", b"&#233;", b"&unknown;", b"<?pi x?>", b"\xc3\xa9",
          b"\xe9", b"<!-- c -->", b"<![CDATA[<x>]]>", b"<!DOCTYPE a [<!ENTITY e 'x'>]>", b"&e;", b"\0"]  # fmt: skip
HEADS = [b"", b"\xef\xbb\xbf", b"<?xml version='1.0' encoding='latin-1'?>", b"<?xml version='1.0' encoding='cp1252'?>",
         b"<?xml version='1.0' encoding='cp037'?>", b"<?xml version='1.0' encoding='utf-7'?>",
         b"<?xml version='1.0' encoding='nonsense'?>"]  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(HEADS), st.lists(st.sampled_from(PIECES), max_size=6), st.booleans())
def test_the_fast_parser_answers_as_the_careful_one(head, pieces, utf16):
    content = head + b"<annotation>" + b"".join(pieces) + b"</annotation>"
    content = content.decode("latin-1").encode("utf-16") if utf16 else content

    def outcome(parse):
        try:
            return tostring(parse())
        except Exception as error:
            return str(error)

    def careful():
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(voc, "plain_fromstring", fromstring)
            return voc._parse(content, "a.xml")

    assert outcome(lambda: voc._parse(content, "a.xml")) == outcome(careful)


@pytest.mark.parametrize("encoding", ["cp037", "utf-16", "utf-16-le", "utf-32", "utf-7", "shift_jis"])
def test_no_encoding_hides_an_entity_from_the_check(encoding):
    text = f"<?xml version='1.0' encoding='{encoding}'?><!DOCTYPE a [<!ENTITY e 'x'>]><annotation>&e;</annotation>"
    with pytest.raises(AnnotationError):
        parse_annotation(text.encode(encoding), "a.xml")
    # The declaration in ASCII, as expat reads it first, and the rest in an encoding that writes "<!" otherwise.
    head, rest = text.split("?>", 1)
    with pytest.raises(AnnotationError):
        parse_annotation(head.encode() + b"?>" + rest.encode(encoding), "a.xml")
