"""Lanes: one turn at a time for each session and agent, over all replicas, in order of arrival.

A lane is a bounded list of messages in Redis, as durable as the stream. It belongs to a session and
an agent, so that what one agent sends to a session key takes no place of another agent's. The
replica that put a message there takes the lane when the message is first; the replicas watch each
other's heartbeats and take over what a dead one held or had waiting. Every hold has a fencing
token, and what is published in a turn goes through a script that compares it first: a lost lane
publishes nothing.

These files know what Redis holds; who beats, sweeps and runs turns is the business of their users.
The keys are listed in lua/lane_common.lua. They exist only while a lane is in use.
"""
