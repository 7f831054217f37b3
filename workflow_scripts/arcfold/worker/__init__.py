"""What outlives a job on a device: a process that does one job after another.

A job's file comes in over a socket of the user's alone (`jobs.client` sends it), the rule's script runs as it
would in a process of its own, and what it says goes back. What is kept between jobs is libraries, the device's
context, base models and what the engines say may be kept; never anything that a job's bytes depend on. This
package stands above all others and nothing imports it: `workers: false` in the config does without.
"""
