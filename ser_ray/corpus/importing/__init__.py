"""The steps from a user's files to a recording: traces -> frames -> labels, audio; a look at all of them first."""
