"""Replies that their platform has not taken yet, or never will.

A reply is kept from the moment when ingest stops waiting for the platform: `parked` while it is
still tried, `undelivered` once that is over. The replies of one session on one channel are sent in
the order in which they came here. A channel whose platform does not answer has a pause, which all
replicas share. What is kept says where a reply goes and which text it is, and never the text.

These files know what Redis holds; who sends is the business of their users. The keys are listed in
lua/reply_common.lua.
"""
