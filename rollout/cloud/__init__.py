"""Google's and GitHub's REST APIs, as operators' commands ask them: asynchronous, typed, rate-limited. No decisions."""
