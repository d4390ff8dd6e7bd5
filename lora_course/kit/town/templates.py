"""The plots of the town: small stories with questions, as templates for `stories`."""

# [a|b] picks one; {A} {B} are people, {Ashe} {Aher} {Ahis} their pronouns (she, her / him, her /
# his, capitalised as {AShe}); {o} {o2} things, {at} {at2} places with their preposition.
# After "??" stand questions with their answers; some of them are asked at the end.
PLOTS = (
    "{A} lost a {c} {o} on {d}. {AShe} looked {at} and {at2}, but it was [not there|gone]. "
    'Then {B} came by with something in {Bhis} hands. "Is this your {o}?" asked {B}. "Yes, '
    'that is my {o}," said {A}. {AShe} thanked {B} and gave {Bher} some {f}. '
    "?? Who lost the {o}? {A} lost the {o}. "
    "?? Who came by? {B} came by. "
    "?? What did {A} give to {B}? {A} gave {B} some {f}. "
    "?? What color was the {o}? The {o} was {c}.",
    "{A} the {j} was [very |]hungry. {AShe} had {n} coins, so {Ashe} went to the "
    '[market|bakery|shop] and bought {f}. On the way home {Ashe} met {B}. "I have not eaten '
    'since {d}," said {B}. {A} shared the {f} with {Bher}, and both were {e}. '
    "?? How many coins did {A} have? {A} had {n} coins. "
    "?? What did {A} buy? {A} bought {f}. "
    "?? Who shared the {f}? {A} shared the {f} with {B}. "
    "?? What was the work of {A}? {A} was a {j}.",
    "Every {d}, {A} walked {at} to feed the {a}. One {d} the {a} was gone. {A} called and "
    'called. {B} heard {Aher} and said: "I saw the {a} {at2}." There it was, '
    "[asleep|eating] beside a {c} {o}. {A} was {e} and carried the {a} home. "
    "?? Who saw the {a}? {B} saw the {a}. "
    "?? Where was the {a}? The {a} was {at2}. "
    "?? Which animal did {A} feed? {A} fed the {a}. "
    "?? When did {A} walk {at}? {A} walked {at} every {d}.",
    "{A} and {B} wanted to build a [raft|house|shelter] {at}. {A} brought a {o}. {B} "
    "brought a {o2}. They worked until [noon|evening]. {w} When the work was done, they ate "
    "{f} and were {e}. "
    "?? What did {A} bring? {A} brought a {o}. "
    "?? What did {B} bring? {B} brought a {o2}. "
    "?? Where did they work? They worked {at}. "
    "?? What did they eat? They ate {f}.",
    '"Where is my {o}?" asked {A}. "I put it {at}," said {B}. {A} went and looked, but '
    'there was only a {o2}. "Then {C} must have it," said {B}. And so it was: {C} had taken '
    "the {o} {at2}. "
    "?? Who asked for the {o}? {A} asked for the {o}. "
    "?? Who had taken the {o}? {C} had taken the {o}. "
    "?? Where did {B} put the {o}? {B} put the {o} {at}. "
    "?? What did {A} see? {A} saw only a {o2}.",
    "Once there was a {l} {a} who lived {at}. It [liked|loved] {f} more than anything. One "
    'day it found a {c} {o}. "What shall I do with a {o}?" said the {a}. It gave the {o} to '
    "{A}, and {A} gave it {f}. So both were {e}. "
    "?? Where did the {a} live? The {a} lived {at}. "
    "?? What did the {a} find? The {a} found a {o}. "
    "?? Who got the {o}? {A} got the {o}. "
    "?? What did the {a} like? The {a} liked {f}.",
    "{w} {A} could not go [out|to work], so {Ashe} stayed {at} and [mended|painted|cleaned] "
    '{Ahis} {o}. {t} {B} knocked at the door. "May I borrow your {o}?" asked {B}. "Bring it '
    'back on {d}," said {A}. {B} brought it back on {d2}. '
    "?? Who knocked at the door? {B} knocked at the door. "
    "?? What did {B} borrow? {B} borrowed the {o}. "
    "?? When did {B} bring it back? {B} brought it back on {d2}. "
    "?? Where did {A} stay? {A} stayed {at}.",
    "The {j} of the town was called {A}. {AShe} was {l2} but kind. {t} {Ashe} told the "
    "children a story about {article_a} who found a {o}. {B} asked for another story, and "
    "{C} fell asleep. "
    "?? Who told a story? {A} told a story. "
    "?? Who fell asleep? {C} fell asleep. "
    "?? Who asked for another story? {B} asked for another story. "
    "?? What was {A}? {A} was the {j} of the town.",
    "{A} wanted to sell a {o} at the market. {B} offered {n} coins. {C} offered {n2} coins "
    "and some {f2}. {A} thought about it and sold the {o} to {C}. {B} went home and was "
    "{e}. "
    "?? Who offered {n} coins? {B} offered {n} coins. "
    "?? Who bought the {o}? {C} bought the {o}. "
    "?? How many coins did {C} offer? {C} offered {n2} coins. "
    "?? What did {A} sell? {A} sold a {o}.",
    "There was a race on {d}, from the [mill|gate|well] to the [bridge|hill]. {A} ran "
    "first, {B} ran second, and {C} ran last. At the end {B} was the fastest and won a {o}. "
    "{A} was {e}, and {C} got some {f}. "
    "?? Who won the {o}? {B} won the {o}. "
    "?? Who ran last? {C} ran last. "
    "?? Who ran first? {A} ran first. "
    "?? When was the race? The race was on {d}.",
    "{A} wrote a letter to {B}. Dear {B}, I am {at} and I am {e}. On {d} I found a {c} {o}. "
    "Please bring me some {f}. Your friend, {A}. {B} read it and [laughed|smiled|sighed]. "
    "?? Who wrote the letter? {A} wrote the letter. "
    "?? Who read the letter? {B} read the letter. "
    "?? Where was {A}? {A} was {at}. "
    "?? When did {A} find the {o}? {A} found the {o} on {d}.",
    'The crier stood {at} and called: "Hear ye, good people! {A} hath lost a {c} {o}. '
    'Whoever doth find it shall have {n} coins." {t} {B} came with the {o}. The crier did '
    "pay {n} coins, and all the good people did rejoice. "
    "?? Who came with the {o}? {B} came with the {o}. "
    "?? Where did the crier stand? The crier stood {at}. "
    "?? How many coins did the crier pay? The crier paid {n} coins.",
    "The doctor of the clinic saw {n} patients on {d}. The first patient was {A}, who had a "
    "[cough|cold|fever]. The next patient was {B}, who had hurt {Bhis} [hand|foot|knee]. "
    '"Rest for {n2} days," the doctor said to {B}. '
    "?? Who was the first patient? The first patient was {A}. "
    "?? Who was the next patient? The next patient was {B}. "
    "?? How many days shall {B} rest? {B} shall rest for {n2} days.",
    'The judge opened the court on {d}. The first case was about a {o}. "I saw {A} take '
    'it," said {B}. {A} said that it was {C} who took it. The judge heard all of them, and '
    "{C} had to pay a fine of {n} coins. The case was closed. "
    "?? What was the case about? The case was about a {o}. "
    "?? Who had to pay a fine? {C} had to pay a fine. "
    "?? When did the judge open the court? The judge opened the court on {d}.",
    "The help desk of the town was open until [noon|evening]. {A} was the first caller: a "
    "{o} was lost {at}. The clerk wrote a ticket with the name, the item, the last place "
    "and the day. {B} was the last caller and asked about a {o2}. The ticket of {A} stayed "
    "open. "
    "?? Who was the first caller? {A} was the first caller. "
    "?? Who was the last caller? {B} was the last caller. "
    "?? Which item was lost? The {o} was lost.",
    "The {l} {o} stood {at}, beside a {c} {o2}. It belonged to {A}. On {d} {B} came and "
    'wanted the {o2}. "Take it," said {A}, "but leave the {o}." '
    "?? What belonged to {A}? The {o} belonged to {A}. "
    "?? What did {B} want? {B} wanted the {o2}. "
    "?? When did {B} come? {B} came on {d}. "
    "?? Where was the {o}? The {o} stood {at}.",
    "{A} planted {n} [seeds|trees] {at}. {t} {Ashe} gave them water, and every {d} {Ashe} "
    "sang to them. The {j} said that nothing would grow there. But when the snow was gone, "
    "the first leaf came out. {B} saw it and called {C}. "
    "?? What did {A} do every {d}? Every {d} {A} sang to them. "
    "?? Who saw the first leaf? {B} saw the first leaf. "
    "?? How many did {A} plant? {A} planted {n}. "
    "?? Who was called? {C} was called.",
    "It was the birthday of {A}. {B} gave {Aher} a {c} {o}. {C} gave {Aher} a {l} {o2}. "
    "There was {f} for everyone, and the {j} played a song. {A} liked the {o2} best. "
    "?? Whose birthday was it? It was the birthday of {A}. "
    "?? What did {B} give? {B} gave a {c} {o}. "
    "?? What did {C} give? {C} gave a {l} {o2}. "
    "?? What did {A} like best? {A} liked the {o2} best.",
    "{A}, {B} and {C} went to see the {j}. {A} wanted {f}, {B} wanted a {o} and {C} only "
    "wanted to talk. The {j} had no {o}. So {B} left, and {A} and {C} stayed {at} until "
    "[evening|dawn]. "
    "?? Who wanted a {o}? {B} wanted a {o}. "
    "?? Who only wanted to talk? {C} only wanted to talk. "
    "?? Who left? {B} left. "
    "?? What did {A} want? {A} wanted {f}.",
    "{B} had never seen the sea. On {d} {A} took {Bher} along in a {l} boat. {w} They saw "
    "{n} birds and a {l2} fish. {B} was {e} all the way. In the evening they came back and "
    "told {C} about it. "
    "?? Who had never seen the sea? {B} had never seen the sea. "
    "?? When did they go? They went on {d}. "
    "?? How many birds did they see? They saw {n} birds. "
    "?? Who heard about it? {C} heard about it.",
    "{A} keeps a {o}, a {o2} and {n} coins in a {l} chest {at}. Nobody knows about it but "
    "{B}. When {A} is {e}, {Ashe} opens the chest and looks at the {o}. "
    "?? Who knows about the chest? {B} knows about the chest. "
    "?? Where is the chest? The chest is {at}. "
    "?? How many coins are in the chest? There are {n} coins in the chest. "
    "?? What does {A} look at? {A} looks at the {o}.",
    "To make {k}, {A} needs a {o} and a lot of time. First {Ashe} lights the fire. Then "
    '{Ashe} stirs and waits. {B} asked if it was ready. "Not yet," said {A}. {t} it was '
    "ready at last, and {B} ate {n} plates of it. "
    "?? What did {A} make? {A} made {k}. "
    "?? Who ate {n} plates? {B} ate {n} plates. "
    "?? What does {A} need? {A} needs a {o} and a lot of time.",
    "{A} and {B} are good friends. {A} lives {at}, {B} lives {at2}. {A} has a {c} {o} and "
    "{B} has a {a}. They meet every {d} and talk about the weather. {w} "
    "?? Where does {A} live? {A} lives {at}. "
    "?? Where does {B} live? {B} lives {at2}. "
    "?? Who has a {a}? {B} has a {a}. "
    "?? Who has a {c} {o}? {A} has a {c} {o}.",
    "{A} painted a picture of the {j}. {B} said that it looked like a {a}. {C} said that it "
    "looked like a {o}. {A} was {e}, but the {j} liked it and paid {n} coins. Now it hangs "
    "{at}. "
    "?? Who said that it looked like a {a}? {B} said that. "
    "?? Who said that it looked like a {o}? {C} said that. "
    "?? How many coins did the {j} pay? The {j} paid {n} coins. "
    "?? Where does the picture hang? The picture hangs {at}.",
)
