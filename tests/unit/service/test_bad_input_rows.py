"""Every row of the contract's table of bad input, and the sentences below it, has its tests.

The tests are named here and not repeated: a row whose test is renamed or deleted fails.
"""

import ast
from functools import cache
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[2]
HERE = "unit/service"
BAD = f"{HERE}/test_bad_input.py"
FILES = "hostile/test_files.py"
OVERLOAD = f"{HERE}/test_overload.py"
REGIONS = f"{HERE}/test_search_regions.py"
ITEMS = f"{HERE}/test_items.py"
ACCESS = f"{HERE}/access/test_gatekeeper.py"
REMOTE = f"{HERE}/intake/test_remote_pictures.py"
FILTERS = f"{HERE}/searches/test_filters.py"

ROWS = {
    "malformed JSON: 422": [
        (BAD, "test_what_is_no_json_is_refused"),
        (BAD, "test_json_that_is_no_object_is_refused"),
        (BAD, "test_params_that_are_no_json_are_refused"),
        (BAD, "test_what_is_no_whole_multipart_is_refused"),
    ],
    "unknown field, wrong type, empty query, limit out of range: 422, every problem and where": [
        (BAD, "test_a_wrong_request_is_refused_naming_everything_that_is_wrong"),
        (BAD, "test_a_wrong_image_query_is_refused"),
        (BAD, "test_wrong_params_of_an_upload_are_refused"),
        (BAD, "test_parts_that_do_not_belong_are_refused"),
    ],
    "unknown filter column: 422": [
        (FILTERS, "test_every_problem_of_a_filter_is_named_with_its_place"),
    ],
    "not an image, truncated, a format not on the list: 400 unreadable_image": [
        (BAD, "test_what_is_no_whole_picture_is_refused_and_named"),
        (BAD, "test_a_damaged_picture_in_base64_is_named"),
        (FILES, "test_each_gets_a_result_or_the_documented_problem"),
    ],
    "GIF first frame": [(BAD, "test_a_colour_image_of_many_frames_is_read_by_its_first")],
    "body over 10 MB: 413, read no further": [
        (BAD, "test_a_body_over_10_mb_is_refused_without_reading_on"),
        (REGIONS, "test_a_body_beyond_the_bound_is_not_read"),
    ],
    "more than 32 queries: 413, read no further": [
        (BAD, "test_more_than_32_queries_are_refused"),
        (BAD, "test_more_than_32_pictures_are_refused_without_reading_on"),
    ],
    "more than 25 megapixels, seen before decoding: 413 too_many_pixels": [
        (BAD, "test_too_many_pixels_are_seen_before_decoding"),
        ("unit/model/test_pictures.py", "test_too_many_pixels_are_seen_before_decoding"),
        (FILES, "test_each_gets_a_result_or_the_documented_problem"),
    ],
    "unsupported content type: 415": [(BAD, "test_other_content_types_are_refused")],
    "region features that cannot be used: 422, before anything is allocated": [
        (REGIONS, "test_features_that_cannot_be_used_are_refused_in_words"),
    ],
    "no or wrong key: 401; health is exempt": [
        (ACCESS, "test_almost_a_key_is_none"),
        (ACCESS, "test_everything_else_needs_a_key_whether_it_is_there_or_not"),
        (ACCESS, "test_pages_description_and_health_need_no_key"),
    ],
    "over its rate: 429 with Retry-After": [
        (ACCESS, "test_a_key_over_its_rate_waits_and_the_others_do_not"),
    ],
    "more waiting than the queue holds: 503 with Retry-After": [
        (OVERLOAD, "test_more_than_the_queue_holds_is_refused_at_once"),
    ],
    "past its deadline: 504; never a hang": [
        (OVERLOAD, "test_a_query_past_its_deadline_is_given_up_and_the_next_one_answered"),
        (OVERLOAD, "test_a_body_that_comes_too_slowly_is_given_up"),
        ("hostile/test_connections.py", "test_a_head_that_trickles_is_refused_in_time"),
    ],
    "gallery missing in this index, unknown item: 404": [
        (BAD, "test_a_gallery_that_the_index_lacks_is_not_found"),
        (BAD, "test_what_is_not_there_is_a_problem_too"),
        (BAD, "test_an_unknown_image_as_query_is_not_found"),
    ],
    "source file gone: 410 source_gone": [
        (ITEMS, "test_a_picture_whose_source_is_gone_is_410_and_its_thumbnail_stays"),
    ],
    "URLs: off by default": [(f"{HERE}/test_search_url.py", "test_by_default_no_url_is_fetched")],
    "URLs: an allow-list": [(REMOTE, "test_a_host_that_is_not_listed_is_not_even_resolved")],
    "URLs: public addresses only": [
        (REMOTE, "test_a_name_that_leads_there_is_refused_without_a_connection"),
    ],
    "URLs: checked again after every redirect": [
        (REMOTE, "test_redirects_elsewhere_are_refused"),
        (REMOTE, "test_a_name_rebound_between_redirects_is_checked_again"),
    ],
    "URLs: against the address really connected to": [
        (REMOTE, "test_the_peer_really_connected_to_is_checked"),
    ],
    "URLs: size and time": [
        (REMOTE, "test_an_endless_body_is_cut_at_the_limit"),
        (REMOTE, "test_a_slow_drip_ends_at_the_deadline"),
    ],
    "pictures are served only from inside the root": [
        (BAD, "test_what_is_not_there_is_a_problem_too"),
        (
            "unit/index_builder/test_build.py",
            "test_what_cannot_be_used_is_set_aside_with_its_reason",
        ),
    ],
    "pictures are served without EXIF": [
        (ITEMS, "test_pictures_are_served_upright_and_without_exif")
    ],
    "uploads never touch the disk": [(FILES, "test_uploads_need_no_temporary_folder")],
    "query texts are not logged": [
        (f"{HERE}/test_process.py", "test_it_serves_until_it_is_told_to_stop_and_ends_well"),
    ],
    "no traceback or path in an answer": [
        (BAD, "test_an_unforeseen_fault_is_a_bare_500"),
        (FILES, "test_no_answer_tells_of_the_inside"),
    ],
}


@cache
def names_in(file: str) -> frozenset[str]:
    tree = ast.parse((TESTS / file).read_text(encoding="utf-8"))
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    return frozenset(node.name for node in tree.body if isinstance(node, functions))


@pytest.mark.parametrize("row", ROWS)
def test_the_row_has_its_tests(row: str) -> None:
    assert [(file, name) for file, name in ROWS[row] if name not in names_in(file)] == []
