"""The output file: a video stream set up by a layout, audio and subtitles beside it, and what describes them."""

from __future__ import annotations

from contextlib import suppress
from fractions import Fraction
from pathlib import Path

import av
from av.codec.context import Flags

from vsr_plugin.errors import MediaError
from vsr_plugin.media.display import scale_display_matrix
from vsr_plugin.media.source import Notes
from vsr_plugin.media.stream_copy import StreamCopier, rehearse, subtitles_left_out
from vsr_plugin.media.video_file import MEDIA_FAULTS, file_url, open_input, reason
from vsr_plugin.media.video_layout import VideoLayout
from vsr_plugin.media.video_reader import VideoSource

# Tags that describe the file they came from rather than the film.
_CONTAINER_TAGS = {"major_brand", "minor_version", "compatible_brands", "encoder", "duration"}


class VideoContainer:
    """Muxes video packets made with a layout, and copies the source's audio and subtitles.

    Attributes:
        notes: Lines worth telling a person; grows until :meth:`close`.
        encoder: The stream's encoder, open but unused: packets are encoded elsewhere.
    """

    def __init__(self, layout: VideoLayout, path: Path, *, audio: bool, picture_only: bool = False) -> None:
        """Open ``path``, add the streams and write the header.

        Args:
            layout: Decisions about the output.
            path: The file to write, which is not the layout's target yet.
            audio: Copy the source's audio.
            picture_only: Copy neither audio nor subtitles, whatever was asked for.

        Raises:
            MediaError: codec, container and audio do not go together, or the file cannot be written.
        """
        self.notes = Notes()
        self._layout, self._path, self._picture_only = layout, path, picture_only
        self._copier: StreamCopier | None = None
        self._container: av.container.OutputContainer | None = None
        self._is_open = False
        self._copied: dict[str, bool] = {}
        try:
            self._open(path, audio=audio, subtitles=True)
        except MEDIA_FAULTS as error:
            # Some muxers list a codec and refuse it only when they write their header.
            if self._copier is None or not self._copier.has_subtitles:
                raise self._refused(error, audio) from error
            self.abandon()
            self.notes = Notes([subtitles_left_out(layout.target, "the subtitles", [])])
            try:
                self._open(path, audio=audio, subtitles=False)
            except MEDIA_FAULTS as other:
                raise self._refused(other, audio) from other
        finally:
            if not self._is_open:
                self.abandon()

    def _open(self, path: Path, *, audio: bool, subtitles: bool) -> None:
        layout = self._layout
        self._container = av.open(file_url(path), "w", format=layout.muxer, container_options=layout.muxer_options())
        self._add_video()
        if isinstance(layout.source, VideoSource):
            self._copy_side_information(layout.source, audio=audio, subtitles=subtitles)
        else:
            if layout.source.has_alpha:
                self.notes.add("a video has no transparency here; the images' alpha is dropped")
            if any(b"sRGB" not in profile.replace(b"\0", b"") for profile in layout.source.profiles.values()):
                self.notes.add(
                    "a video has no colour profile; the images' values are taken for sRGB, convert them first"
                )
        self._container.start_encoding()
        self._is_open = True

    def _refused(self, error: BaseException, audio: bool) -> MediaError:
        layout = self._layout
        target = layout.target
        without = ", or drop the audio with --no-audio" if self._copied and audio else ""
        return MediaError(
            f"{target}: cannot be written as {layout.codec} {layout.pix_fmt} {layout.width}x{layout.height} in "
            f"{target.suffix} ({reason(error)}); choose another codec or container such as .mkv{without}"
        )

    def _add_video(self) -> None:
        layout = self._layout
        try:
            stream = self._container.add_stream(layout.codec, rate=layout.rate, options=layout.encoder_options())
        except ValueError as error:
            raise MediaError(
                f"{layout.target}: a {layout.target.suffix} file cannot hold {layout.codec} video; choose another "
                "codec (libx264 for .mp4 .mov .mkv, libvpx-vp9 for .webm) or container"
            ) from error
        stream.time_base = layout.unit
        layout.configure(stream.codec_context)
        self._stream = stream
        self.encoder = stream.codec_context

    def _copy_side_information(self, source: VideoSource, *, audio: bool, subtitles: bool) -> None:
        layout = self._layout
        if not layout.bake and source.display_matrix is not None:
            upright = source.orientation.size
            matrix = scale_display_matrix(
                source.display_matrix, upright(source.height, source.width), upright(*layout.size)
            )
            self._stream.set_display_matrix(matrix)
        self._stream.metadata.update(source.stream_tags)
        tags = {k: v for k, v in source.metadata.items() if k not in _CONTAINER_TAGS}
        self._container.metadata.update(tags)
        if layout.whole and hasattr(self._container, "set_chapters"):
            with open_input(source.path) as container:
                chapters = container.chapters()
            kept = []
            for chapter in chapters:
                start, end = (chapter[which] - round(source.start / chapter["time_base"]) for which in ("start", "end"))
                # Before the first frame there is nothing, and some muxers refuse negative times.
                if end > 0 or start >= 0:
                    kept.append(dict(chapter, start=max(0, start), end=max(0, end)))
            if kept:
                self._container.set_chapters(kept)
        self._attach_files(source)
        if self._picture_only:
            return
        if source.audio_indices and not audio:
            self.notes.add("the audio is left out as asked")
        if (source.audio_indices and audio) or (source.has_subtitles and subtitles):
            self._copied = dict(audio=audio, subtitles=subtitles)
            self._copier = StreamCopier(layout, self._container, **self._copied)
            self.notes.add(*self._copier.notes)

    def _attach_files(self, source: VideoSource) -> None:
        if not source.num_attachments:
            return
        if self._layout.muxer != "matroska":
            suffix = self._layout.target.suffix
            self.notes.add(
                f"{source.num_attachments} attached files (fonts of subtitles, say) are not copied, a {suffix} file "
                "cannot hold them; .mkv does"
            )
            return
        with open_input(source.path) as container:
            for stream in container.streams:
                if stream.type == "attachment":
                    kind = stream.metadata.get("mimetype", "application/octet-stream")
                    self._container.add_attachment(stream.metadata.get("filename", "attachment"), kind, stream.data)

    def rehearse(self, path: Path, begin: Fraction | None, end: Fraction | None) -> None:
        """Copy audio and subtitles into a file that is thrown away; for an output that was thrown away itself.

        Args:
            path: The file.
            begin: See :func:`vsr_plugin.media.stream_copy.rehearse`.
            end: See there.

        Raises:
            MediaError: the output cannot hold them.
            OSError: the disk is full or fails.
        """
        if not self._copied:
            return
        try:
            rehearse(self._layout, path, **self._copied, begin=begin, end=end)
        except MEDIA_FAULTS as error:
            if isinstance(error, OSError):
                raise
            target = self._layout.target
            raise MediaError(
                f"{target}: the sound cannot be copied into a {target.suffix} file ({reason(error)}); choose "
                f"{'.mp4' if target.suffix == '.mkv' else '.mkv'}, or drop the audio with --no-audio"
            ) from error

    @property
    def global_header(self) -> bool:
        """Whether the container keeps the encoder's parameter sets, so that packets have none."""
        return bool(int(self.encoder.flags) & int(Flags.global_header))

    def begin(self, first_pts: int) -> None:
        """Say at which timestamp of the source, in its units, the first frame is."""
        if self._copier is not None and self._layout.from_first_frame:
            self._copier.trim(first_pts * self._layout.source_unit)

    def mux(self, packet: av.Packet, until: Fraction) -> None:
        """Write a video packet, and audio and subtitles up to ``until`` seconds of the source.

        Raises:
            FFmpegError: the disk is full, or a packet does not fit.
        """
        packet.stream = self._stream
        self._container.mux_one(packet)
        if self._copier is not None:
            self._copier.copy_until(until)

    def close(self, end: Fraction) -> None:
        """Write the rest of audio and subtitles, up to ``end`` seconds of the source for a part, and the trailer.

        Raises:
            FFmpegError: the disk is full.
        """
        copier = self._copier
        if copier is not None:
            copier.copy_rest(None if self._layout.whole else end)
            self.notes.add(*copier.notes)
        self._close()
        if copier is not None:
            copier.complete(self._path)

    def _close(self) -> None:
        copier, container = self._copier, self._container
        self._copier = self._container = None
        try:
            if copier is not None:
                copier.close()
        finally:
            if container is not None:
                container.close()

    def abandon(self) -> None:
        """Close a file that is thrown away; may be called at any time."""
        # The trailer of a file that is thrown away may fail for the reason that brought us here.
        with suppress(*MEDIA_FAULTS):
            self._close()
