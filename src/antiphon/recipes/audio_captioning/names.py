"""Names of sound events for hard prompts, of AudioSet's kind, shortened; and the far fewer kinds of the claims."""

from __future__ import annotations

_ALL = """
man speaking, woman speaking, child speaking, conversation, crowd talking, whispering, shouting, screaming, laughter,
giggling, crying, baby crying, sobbing, sighing, singing, choir, chanting, rapping, humming, groaning, grunting,
whistling, breathing, snoring, gasping, coughing, sneezing, sniffing, throat clearing, burping, hiccup, chewing,
gargling, footsteps, running, clapping, applause, cheering, booing, finger snapping, heartbeat, children playing, dog
barking, dog howling, dog growling, dog whimpering, cat meowing, cat purring, cat hissing, horse neighing, horse
galloping, cow mooing, pig oinking, goat bleating, sheep bleating, donkey braying, chicken clucking, rooster crowing,
turkey gobbling, duck quacking, goose honking, lion roaring, tiger growling, wolf howling, monkey screeching, elephant
trumpeting, bird chirping, bird singing, crow cawing, pigeon cooing, owl hooting, seagull calling, parrot talking,
wings flapping, mouse squeaking, insects buzzing, bee buzzing, fly buzzing, mosquito, cricket chirping, cicada, frog
croaking, snake hissing, whale song, wind blowing, rustling leaves, thunder, rain falling, rain on a roof, raindrops,
stream flowing, waterfall, river, ocean waves, sea waves crashing, water dripping, water pouring, water splashing,
water gurgling, bubbles, swimming, boiling water, frying food, fire crackling, wood burning, explosion, fireworks,
gunshot, machine gun, artillery, car engine, car passing by, car horn, car alarm, tyres squealing, skidding, truck,
bus, motorcycle, race car, traffic, train passing, train horn, train whistle, subway, railroad crossing bell,
aircraft, jet engine, propeller, helicopter flying, boat engine, motorboat, ship horn, sailing, bicycle bell,
skateboard, siren, ambulance siren, police siren, fire engine siren, engine idling, engine starting, engine revving,
lawn mower, chainsaw, drill, jackhammer, hammering, sawing wood, sanding, power tool, sewing machine, printer,
typewriter, typing on a keyboard, computer mouse clicking, camera shutter, telephone ringing, dial tone, busy signal,
alarm clock, clock ticking, clock striking, cuckoo clock, smoke alarm, buzzer, beeping, doorbell, door knocking, door
opening, door slamming, door creaking, drawer, cupboard, keys jangling, coins dropping, zipper, cutlery, dishes
clattering, chopping food, microwave oven, blender, kettle whistling, vacuum cleaner, hair dryer, electric toothbrush,
electric shaver, toilet flushing, sink filling, bathtub filling, washing machine, air conditioner, fan, scissors
cutting, writing, paper crumpling, paper tearing, page turning, packing tape, glass breaking, glass clinking, wood
cracking, can opening, church bell, wind chime, bicycle, gong, cymbal, drum, drum roll, snare drum, tambourine,
maracas, guitar, bass guitar, banjo, harp, violin, cello, trumpet, trombone, saxophone, flute, clarinet, harmonica,
accordion, bagpipes, piano, organ, synthesizer, orchestra, rock music, hip hop music, electronic music, jazz, folk
music, lullaby, static, radio, television, hum, hiss, white noise, echo, silence, clicking, tapping, scratching,
scraping, squeaking, rattling, rumbling, thumping, bouncing, cracking, whooshing, splattering, crunching, sizzling
"""

NAMES = tuple(" ".join(name.split()) for name in _ALL.split(","))

KINDS = (
    "baby cry", "bird", "cat", "clock tick", "dog bark", "fire crackling", "frog", "helicopter", "lion",
    "person sneeze", "rain", "rooster", "sea waves", "sheep",
)  # fmt: skip
"""Kinds of ESC-10 and the animals that AudioCaps' captions mention alone often enough."""
