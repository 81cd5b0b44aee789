"""The steps from a user's files to a recording: traces -> frames -> labels, audio; all are checked first."""
