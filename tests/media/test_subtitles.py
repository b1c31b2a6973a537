"""Subtitles are copied where the output can hold them, and never stand in the way of the video."""

from fractions import Fraction

import av
import numpy as np
import pytest
from av.error import ArgumentError

from vsr_plugin.media import Encoding, open_source
from vsr_plugin.media.stream_copy import StreamCopier

LINES = [(40, 80, b"Hello"), (200, 120, b"World")]


@pytest.fixture
def make_titled(media, tmp_path):
    """Write a video of ten frames in 0.4 s with audio and two lines of SubRip."""

    def make(**options):
        plain = media.make_clip(tmp_path / "plain.mkv", audio="aac", **options)
        text = tmp_path / "lines.srt"
        text.write_text(
            "1\n00:00:00,040 --> 00:00:00,120\nHello\n\n2\n00:00:00,200 --> 00:00:00,320\nWorld\n", encoding="utf-8"
        )
        path = tmp_path / "in.mkv"
        with av.open(str(plain)) as video, av.open(str(text)) as lines, av.open(str(path), "w") as output:
            copies = {}
            for source in (*video.streams, *lines.streams):
                copies[source] = output.add_stream_from_template(source)
            copies[lines.streams[0]].metadata["language"] = "deu"
            for packet in (*video.demux(), *lines.demux()):
                if packet.dts is not None:
                    packet.stream = copies[packet.stream]
                    output.mux(packet)
        return path

    return make


def subtitles(path):
    """Language of each subtitle stream and its packets."""
    with av.open(str(path)) as container:
        return [
            (stream.metadata.get("language"), [(p.pts, p.duration, bytes(p)) for p in packets if p.size])
            for stream in container.streams.subtitles
            for packets in [list(container.demux(stream))]
        ]


def test_they_are_copied_beside_the_audio(make_titled, media, tmp_path):
    path = make_titled()
    assert subtitles(path) == [("deu", LINES)]
    source, sink = media.copy(path, tmp_path / "out.mkv", scale=1)
    assert subtitles(tmp_path / "out.mkv") == [("deu", LINES)]
    assert media.packets(tmp_path / "out.mkv") == media.packets(path)
    assert not any("subtitle" in line or "streams" in line for line in [*source.notes, *sink.notes])


def test_of_a_part_those_of_the_part(make_titled, media, tmp_path):
    media.copy(make_titled(), tmp_path / "out.mkv", scale=1, start=4, num_frames=5)
    assert subtitles(tmp_path / "out.mkv") == [("deu", [(40, 120, b"World")])]


def test_one_that_is_on_screen_when_a_part_begins_stays_for_the_rest(make_titled, media, tmp_path):
    media.copy(make_titled(), tmp_path / "out.mkv", scale=1, start=2, num_frames=7)
    assert subtitles(tmp_path / "out.mkv") == [("deu", [(0, 40, b"Hello"), (120, 120, b"World")])]


def test_a_container_that_cannot_hold_them(make_titled, media, tmp_path):
    path = make_titled()
    _, sink = media.copy(path, tmp_path / "out.mp4", scale=1)
    assert "subrip subtitles are not copied, a .mp4 file cannot hold them; .mkv can" in sink.notes
    assert subtitles(tmp_path / "out.mp4") == []
    with open_source(tmp_path / "out.mp4") as source:
        assert len(list(source.frames())) == 10


def test_of_mp4_they_stay_in_mp4(make_titled, media, tmp_path):
    """Reported of another tool: a film with subtitles of MP4 failed at once on its way into Matroska."""
    path = tmp_path / "in.mp4"
    header = (
        b"[V4+ Styles]\nFormat: Name, Fontname, Fontsize\nStyle: Default,Arial,16\n\n[Events]\nFormat: Layer, Text\n"
    )
    with av.open(str(media.make_clip(tmp_path / "plain.mp4"))) as video, av.open(str(path), "w") as output:
        copy, lines = output.add_stream_from_template(video.streams.video[0]), output.add_stream("mov_text")
        lines.codec_context.subtitle_header = header
        lines.codec_context.time_base = Fraction(1, 1000)
        for packet in video.demux():
            if packet.size:
                packet.stream = copy
                output.mux(packet)
        line = av.Packet(b"\0\5Hello")
        line.pts = line.dts = 40
        line.duration, line.time_base, line.stream = 80, Fraction(1, 1000), lines
        output.mux(line)
    _, sink = media.copy(path, tmp_path / "out.mkv", scale=1)
    assert "mov_text subtitles are not copied, a .mkv file cannot hold them; .mp4 and .mov can" in sink.notes
    media.copy(path, tmp_path / "out.mp4", scale=1)
    ((_, packets),) = subtitles(tmp_path / "out.mp4")
    assert b"\0\5Hello" in [content for _, _, content in packets]


def test_a_muxer_that_refuses_them_in_its_header(make_titled, media, tmp_path, monkeypatch):
    begin = av.container.OutputContainer.start_encoding

    class Refusing:
        """The container, but for the header of one with subtitles."""

        def __init__(self, container):
            self.container = container

        def __getattr__(self, name):
            return getattr(self.container, name)

        def start_encoding(self):
            if self.container.streams.subtitles:
                raise ArgumentError(22, "Invalid argument")
            begin(self.container)

    plain_open = av.open

    def refusing_open(path, mode="r", **options):
        container = plain_open(path, mode, **options)
        return Refusing(container) if mode == "w" else container

    path = make_titled()
    monkeypatch.setattr("vsr_plugin.media.video_container.av.open", refusing_open)
    _, sink = media.copy(path, tmp_path / "out.mkv", scale=1)
    monkeypatch.undo()
    assert "the subtitles are not copied, a .mkv file cannot hold them" in sink.notes
    assert subtitles(tmp_path / "out.mkv") == []
    assert media.packets(tmp_path / "out.mkv") == media.packets(path)


def test_lines_that_do_not_fit_are_left_out(make_titled, media, tmp_path, monkeypatch):
    class Refusing:
        def __init__(self, output):
            self.output = output

        def __getattr__(self, name):
            return getattr(self.output, name)

        def mux_one(self, packet):
            if packet.stream.type == "subtitle" and b"Hello" in bytes(packet):
                raise ArgumentError(22, "Invalid argument")
            self.output.mux_one(packet)

    plain = StreamCopier.__init__

    def init(self, layout, output, **options):
        plain(self, layout, output, **options)
        self._output = Refusing(output)

    monkeypatch.setattr(StreamCopier, "__init__", init)
    _, sink = media.copy(make_titled(), tmp_path / "out.mkv", scale=1)
    assert "some subtitles do not fit into the output; they are left out" in sink.notes
    assert subtitles(tmp_path / "out.mkv") == [("deu", LINES[1:])]


def test_without_audio_they_stay(make_titled, media, tmp_path):
    media.copy(make_titled(), tmp_path / "out.mkv", scale=1, encoding=Encoding(audio=False))
    assert subtitles(tmp_path / "out.mkv") == [("deu", LINES)]
    with av.open(str(tmp_path / "out.mkv")) as container:
        assert not container.streams.audio


def test_pictures_are_the_same_with_and_without(make_titled, media, tmp_path):
    path = make_titled()
    for name in ("with.mkv", "without.mp4"):
        media.copy(path, tmp_path / name, scale=1)
    with open_source(tmp_path / "with.mkv") as a, open_source(tmp_path / "without.mp4") as b:
        assert all(np.array_equal(x.rgb, y.rgb) for x, y in zip(a.frames(), b.frames(), strict=True))
