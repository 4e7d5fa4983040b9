"""The queues between the threads: bounded, ended, given up."""

from __future__ import annotations

import threading

import pytest

from mcai_worker_sdk.media.reading.chunks import Chunk, ChunkQueue, QueueClosedError, QueueSilentError


def chunk(size_bytes, *frames):
    made = Chunk()
    made.add(0, list(frames), size_bytes)
    return made


def frames_of(received):
    return [frame for segment in received.segments for frame in segment.frames]


def test_chunks_come_in_order_and_then_the_end():
    queue = ChunkQueue(100)
    queue.put(chunk(10, 1, 2))
    queue.put(chunk(10, 3))
    queue.end()
    assert [frames_of(queue.get()), frames_of(queue.get()), queue.get(), queue.get()] == [[1, 2], [3], None, None]


def test_a_failure_comes_after_what_was_put_before_it():
    queue = ChunkQueue(100)
    queue.put(chunk(10, 1))
    queue.end(ValueError("boom"))
    assert frames_of(queue.get()) == [1]
    with pytest.raises(ValueError, match="boom"):
        queue.get()


def test_a_full_link_holds_the_sender_until_something_is_taken():
    queue = ChunkQueue(100)
    queue.put(chunk(150, 1))
    passed = threading.Event()

    def send():
        queue.put(chunk(10, 2))
        passed.set()

    sender = threading.Thread(target=send)
    sender.start()
    assert not passed.wait(0.05)
    assert frames_of(queue.get()) == [1]
    sender.join()
    assert frames_of(queue.get()) == [2]


def test_an_aborted_link_releases_both_sides():
    queue = ChunkQueue(1)
    queue.put(chunk(5, 1))
    outcomes = []

    def send():
        try:
            queue.put(chunk(5, 2))
        except QueueClosedError:
            outcomes.append("sender released")

    sender = threading.Thread(target=send)
    sender.start()
    queue.abort()
    sender.join()
    assert outcomes == ["sender released"]
    with pytest.raises(QueueClosedError):
        queue.get()


def test_waiting_for_a_chunk_can_time_out():
    with pytest.raises(QueueSilentError):
        ChunkQueue(1).get(0.01)


def test_successive_frames_of_one_stream_share_a_segment():
    made = Chunk()
    made.add(0, [1], 1)
    made.add(0, [2], 1)
    made.add(1, [3], 1)
    made.add(0, [4], 1)
    assert [(segment.stream_index, segment.frames) for segment in made.segments] == [(0, [1, 2]), (1, [3]), (0, [4])]
    assert (made.frame_count, made.size_bytes) == (4, 4)


def test_a_failure_that_is_a_time_out_is_no_silence():
    queue = ChunkQueue(1)
    queue.end(TimeoutError("the source"))
    with pytest.raises(TimeoutError, match="the source"):
        queue.get(0.01)
