"""The words and phrases by which `sms_replies` reads a reply: data, as regular expressions over normalised text.

Normalised: lower case, no accents, one space between words, apostrophes and hyphens are spaces (`m'envoyer` is
`m envoyer`, `don't` is `don t`). French, English, Spanish, German, Italian, Dutch.
"""

# ruff: noqa: E501, SIM905 - a pattern is easier to read in one line, and words without quotes and commas

from __future__ import annotations

import re

_MESSAGES = (
    r"(?:sms\w*|mms|rcs|texts?|textos?|txts?|msgs?|mess?ages?|mess?agg\w+|mensajes?|nachrichten?|berichten|berichtjes"
    r"|bericht|pubs?|publicites?|publicidad|pubblicita|promos?|promotions?|promociones|promozioni|newsletters?|mails?"
    r"|emails?|notif\w*|notices?|alertes?|alerts?|alertas?|spams?|reclame\w*|werbung|werbe\w+|ofertas?|offerte|anuncios?"
    r"|ads?|calls?|appels?|llamadas?|anrufe?|chiamate|campagnes?|relances?|sollicitations?|marketing|demarchage"
    r"|prospection|harcelement)"
)

KEYWORDS = frozenset(
    # AWS, CTIA, Twilio and the FCC's (47 CFR 64.1200(a)(10)), with what people make of them in each language.
    "stop stops stopp stoppe stopper stoppen stopall stopsms stoppub stopt end quit cancel revoke remove unsubscribe"
    " unsubscribed unsub unsuscribe optout optingout td cease discontinue deactivate disable withdraw dnc стоп στοπ stahp cesser cessez"
    " arret arrete arretes arreter arretez arrets stoppez stopez stoper desabonner desabonne desabonnez desabonnement desinscrire"
    " desinscription desinscrit desabo desinscrivez"
    " baja alto parar pare paren parad cancelar cancela cancelacion desuscribir desuscribirme desuscribanme desapuntarme"
    " abmelden abmeldung abgemeldet abbestellen abbestellung austragen aufhoren aufhoeren"
    " disiscrivimi disiscrivetemi disiscrizione disiscrivermi cancella cancellami cancellatemi cancellazione basta smettetela"
    " smettila smettere smettete"
    " afmelden uitschrijven afmelding uitschrijving ophouden stopzetten cancelen sair".split()
)
"""Each is a withdrawal when it is all that is said."""
STOPS = frozenset(
    "stop arret arretez arreter arrete stopp stopper stopez stoper stoppez stoppen unsubscribe basta".split()
)
"""Those that mean it at the beginning or the end of more words, too."""
ONLY_ALONE = frozenset(
    "end quit cancel remove td alto parar pare paren parad baja basta cancela sair arrets arretes smettere stops cancella"
    " discontinue deactivate disable withdraw dnc cancelen cancelacion".split()
)
"""Everyday words that mean it only when they are all that is said."""
TYPO_PRONE = frozenset(
    "stop arret arrete arreter arretez unsubscribe cancel desabonner desabonnement desabonnez desinscription desinscrire abmelden"
    " abbestellen afmelden uitschrijven disiscrivimi disiscrizione optout".split()
)
"""Those that a slip of the thumb is looked for of."""
NO_TYPO = frozenset(
    "top shop step steps stp stap slop atop strop stomp stow stof stok stol stor stoep stoop spot sto stock ftop store"
    " cancer chancel arrest carrel remote remove melden uitschrijft optant port".split()
)
"""Words of their own that are one letter from one of these."""
WEAK = frozenset(
    "no non nein nee nope nah fin fini finito ende einde halt finish annuler annule annulez annulla annullare anular"
    " annuleren stornieren kundigen kundigung kuendigen resilier resiliation salir fuera disdire disdetta opzeggen enough"
    " assez suffit genug genoeg suficiente retract decline refuse refus block nunca jamais never niente nada weg raus"
    " schluss kappen kap para suprimir rimozione fermatevi fermati leave sto delete supprimer loschen loeschen verwijderen borrar eliminar exit terminate"
    " opposition retirer halte".split()
)
"""A withdrawal perhaps, when it is all that is said."""
NOT_STOP = "non stop"
"""French or Italian for "no, stop", or English for "without a break": in doubt where nothing else is said."""
START = frozenset(
    "start unstop yes yep oui ouais si ja subscribe join resume continue continuer continuez begin reprendre weiter"
    " anmelden aanmelden inschrijven iscrivimi alta optin".split()
)
COURTESY = frozenset(
    "please pls plz plse ok okay thanks thank you thx ty now kindly just hi hello hey sorry dear sir madam team guys"
    " immediately asap right today sms mms text texts messages message msg msgs all everything me it this that these"
    " already again at once"
    " svp stp s il vous te plait plais merci bonjour bonsoir salut mr mme monsieur madame messieurs cordialement desole"
    " bien a de maintenant immediatement tout tous de suite beaucoup d avance pub pubs moi ca les des vos publicite"
    " publicites bjr slt mrc bsr voila donc enfin"
    " por favor gracias hola buenas buenos dias tardes ya ahora porfa porfavor mensajes publicidad"
    " bitte danke hallo guten tag sofort jetzt liebe grusse mfg werbung alles endlich"
    " per favore grazie ciao buongiorno subito adesso ora prego cortesia cortesemente salve messaggi pubblicita"
    " alstublieft aub graag dank u je wel dag hoi nu bedankt meteen onmiddellijk reclame berichten"
    " the to for and und et e y en i".split()
)
"""What may be around a keyword without changing it."""
SIGNS = {"\U0001f6d1": " stop "}
"""The stop sign says stop."""
REFUSING_SIGNS = "\u26d4\U0001f6ab\u270b\U0001f645\U0001f595\U0001f44e\U0001f621\U0001f620\U0001f92c\u274c"

_REACTION = (
    r"(?:liked|loved|disliked|laughed at|emphasi[sz]ed|questioned|reacted \S{1,12} to|removed an? \w+ from"
    r"|a (?:aime|adore|ri a|pas aime|mis en avant|souligne|questionne)|(?:le |ha |te )?(?:gusto|encanto|encanta|gusta)"
    r"|(?:ha )?(?:messo mi piace a|amato)|gefallt|gefiel|vond leuk)"
)
REACTION = re.compile(rf"^\W*{_REACTION}\s*[:a]?\s*[\"“«„'‘].*", re.DOTALL)
"""A tap-back of a telephone: it quotes our message, whose text has the word STOP."""


_OWN_KEYWORD = (
    r"(?:stop|stopp|stopall|unsub\w*|opt|optout|desabo\w*|desinscri\w*|arretez|baja|desuscri\w*|abmeld\w*|abbestell\w*|austragen"
    r"|afmeld\w*|uitschrijv\w*|cancel\w*|disiscri\w*|basta|paren|parar|smett\w*"
    r"|plus|assez|marre|enough|keine?|geen)"
)
_NEGATION = r"(?:do not|don|dont|dnt|never|ne|n|no|non|nicht|nie|niet)"
_MORE = rf"(?:(?!{_OWN_KEYWORD}\b|{_NEGATION}\b)\w+)"
"""A word that a negation takes with it: one that says stop, or that is a negation itself, begins anew."""
_TIMES = r"(?!(?: \w+){0,4} (?:fois|times|twice|veces|\w*mal|volte|keer)\b)"
"""Not "ten times": who will not say it again has said it."""
_PLEASE = r"(?:^|\b(?:svp|plait|merci|merci d|merci de|bonjour|erreur|desole|desolee|veuillez|pouvez vous|peux tu) )"
"""Before what we are asked to do, unlike what we are told that we do."""


def _any(*patterns: str) -> re.Pattern[str]:
    pattern = "|".join(rf"(?:{each})" for each in patterns)
    for name, meant in {"MSG": _MESSAGES, "MORE": _MORE, "TIMES": _TIMES, "PLEASE": _PLEASE}.items():
        pattern = pattern.replace(name, meant)
    return re.compile(pattern)


INSTRUCTION = _any(
    # Our own text, quoted or forwarded.
    r"\b(?:reply|text|txt|send|respond|type) (?:with )?stop (?:to (?:\d+ )?(?:stop|unsubscribe|opt|cancel|end|quit|\d)|2)\w*(?: out)?",
    r"\b(?:envoye[zr]|repond(?:ez|re)|tape[zr]) (?:par )?stop (?:au|pour) \w+",
    r"\bstop (?:au )?\d{4,6} (?:pour|to) \w+",
    r"\b(?:responde|envia|responda|envie) (?:con )?stop (?:para|al) \w+",
    r"\b(?:antworten sie mit|antworte|sende|senden sie) stop (?:um|an|zum) \w+",
    r"\b(?:rispondi|invia|rispondere) (?:con )?stop (?:per|al) \w+",
    r"\b(?:stuur|antwoord|sms) (?:met )?stop (?:om|naar) \w+",
    # Asked about, not said.
    r"(?<!times )\b(?:if|when|should|must|shall|do) (?:i|we) (?:just |have to |need to )?(?:say|send|reply|text|type|write|answer|respond|stop|cancel)\b(?: \w+)? ?(?:stop)?",
    r"\bsi (?:j|je|on) (?:envoie|reponds?|tape|ecris|mets|dis)(?: \w+)? stop",
    r"(?<!fois )\b(?:est ce que je dois|doit on|dois je|faut il) (?:envoyer|repondre|taper|ecrire) stop\b(?! (?:\w+ )?fois)",
    r"(?<!ce )\bque (?:veut dire|signifie)(?: \w+)? stop|\bstop ou pas\b",
    r"PLEASE(?:annul|oubli|ignor)(?:e|er|ez) mon stop|PLEASEne (?:tenez|tiens|tenir) pas compte de mon stop|PLEASEne pas tenir compte de mon stop",
    r"\b(?:envoye|ecrit|mis|repondu|tape|dit|fait)(?: \w+){0,2} stop par erreur|^stop par erreur$|(?:^|\b(?:i|we|was|got|been) )unsubscribed by (?:mistake|accident)",
    r"\b(?:sent|said|texted|replied|typed|wrote|hit|pressed|put)(?: \w+){0,2} stop by mistake|^stop by mistake$",
    r"\bwhat (?:does|is|happens)(?: \w+){0,4} stop",
    r"\bwenn ich stopp?(?: \w+)? (?:schreibe|sende|antworte)",
)
"""The word is spoken about: a person decides."""

KEEP = _any(
    # Negations: to go on.
    r"\b(?:do not|don t|dont|dnt|please not|no need to|didn t want to|didnt want to|not going to)"
    r" (?:ever |please |you |u |dare |want (?:you |u )?to |wanna |wish to |need (?:you )?to |mean to |)*"
    r"(?:stop|unsub\w*|cancel|opt out|optout|quit|remove|end)\bTIMES(?: MORE){0,4}",
    r"(?<!it )(?<!texts )(?<!messages )(?<!msgs )(?<!sms )(?<!calls )(?<!spam )\bnever (?:ever )?(?:stop|unsub\w*|cancel|quit|remove)\bTIMES(?: MORE){0,4}",
    r"(?:\b(?:i|we) (?:\w+ )?(?:did not|didn t|didnt|have not|haven t|havent)) (?:unsub\w*|opt(?:ed)? out)\b(?! me| us| my| this)TIMES|^(?:did not|didn t|didnt) (?:unsub\w*|opt(?:ed)? out)$",
    r"^(?:\w+ )?why (?:did|have) (?:you|u|they) stop(?:ped)?(?:$| (?:send|text|txt|messag|msg|writ|email|mail)(?:ing|in)\b(?: MORE){0,4}| (?:(?:the|my|your|all|these) )*MSG\b)",
    r"^(?:\w+ )?why (?:am|was|were|have) (?:i|we) (?:been )?(?:unsub\w*|opted out|removed)(?: from(?: MORE){1,3}| now| today| again| please)?$",
    r"\b(?:can t|cant|won t|wont) stop$|\bcan t stop won t stop\b|\b(?:can t|cant|cannot|won t|wont|couldn t|not) stop (?!(?:text|send|messag|msg|call|contact|spam)\w*|MSG)\w+",
    r"\b(?:n|ne) (?:me |m |vous |nous |te |t |l |les |la )?"
    r"(?:arret|desabonn|desinscri|stopp?|cess|supprim|annul|retir|resili|enlev)\w*(?: moi| surtout)? (?:surtout )?(?:pas|jamais)\bTIMES(?: MORE){0,5}",
    r"\bne (?:surtout )?(?:pas|jamais) (?:me |m |nous |vous |)(?:arreter|desabonner|desinscrire|stopper|cesser|supprimer|annuler|retirer|resilier)TIMES(?: MORE){0,5}",
    r"(?<!\bn )\b(?:arretez?|arretes|stoppez|stop(?= pas (?:les|vos|tes|la|l)\b| (?:surtout )?pas$)|desabonnez|desinscrivez)(?: moi)? (?:surtout )?pas\b(?! (?:mal|envie|interess\w*|interress\w*|d accord|besoin|content\w*|le temps|de (?:sms|pub)\w*))TIMES(?: MORE){0,4}",
    r"^(?:surtout )?pas stop$|^surtout pas (?:de )?stop$|\bne me suis (?:pas|jamais) (?:desabonn|desinscri)\w*",
    r"^(?:\w+ )?pourquoi (?:vous |tu |ils )?(?:avez|as|ont)(?: vous| tu| ils)? arrete[sr]?(?:$| (?:(?:les?|vos|tes|mes|ces|l|d|de|m|me|nous) )*(?:envoi|envoyer|ecrire|contacter|MSG)\b(?: MORE){0,4})",
    r"(?:^|\b(?:je|j|on) )(?:(?:ne|n) )?(?:veux|veut|souhaite|desire|voudrais|aimerais)TIMES (?:surtout )?pas (?:(?:etre |me |m |se |s |vous |)(?:arreter?|desabonner?|desinscri(?:re|t)|stopper?)\b|que vous (?:arret|desabonn|desinscri|stopp)\w*|qu on arrete)(?: MORE){0,4}",
    r"(?:^|\b(?:je|j|on) )(?:(?:ne|n) )?(?:compte|vais|va) (?:surtout )?pas (?:me |m )?(?:arreter|desabonner|desinscrire|stopper)(?: maintenant| tout de suite| de vos \w+)?$",
    r"\bno quiero perder(?:me|nos)\b(?!.*\b(?:baja|stop|paren|parar|cancelar)\b)(?: MORE){0,4}|\bno quiero perder (?:(?:nada|las?|los|el|sus?|tus?|vuestr[ao]s|est[ae]s?|ningun\w*) ?)+(?:ofertas?|promo\w*|descuentos?|oportunidad\w*|noticias?|novedad\w*|mensajes?|$)",
    r"\bnon (?:voglio|vorrei) perder(?:mi|ci)\b(?: MORE){0,4}|\bnon (?:voglio|vorrei) perdere (?:nulla|niente|(?:(?:le|la|l|i|gli|una|nessun\w*|vostr[aei]|quest\w) )+(?:offert\w+|promo\w*|scont\w*|occasion\w*|sald\w*|novita|messagg\w*|notizi\w*))",
    r"\bno (?!quiero (?:cancele[ns]?|pare[ns]?|pares|pareis|dej(?:es|en|eis)|de[ns]?|borr(?:es|en)|elimin(?:es|en)|detengan)\b)(?:quiero |me |nos |vayan a |)*(?:cancelar|cancele[ns]?|parar|pares|paren|pareis|dej(?:es|en|eis) de|de[ns]? de baja"
    r"|dar(?:me)? de baja|darme|borr(?:es|en)|elimin(?:es|en)|detengan)\bTIMES(?: MORE){0,4}",
    r"^(?:(?:bis )?wann |wie lange )?h(?:o|oe)r(?:t|en) (?:d[ei][re]|das|diese[rs]?|[ei]ure?|ihre?)? ?(?:aktion\w*|angebote?|rabatte?|sale|ausverkauf|gutscheine?|verkauf|regen)\b(?: MORE){0,3} auf\b",
    r"(?:^|\b(?:will|mochte|moechte|wollte|werde|bitte|danke|aber|doch|und) )(?:mich |uns )?(?:noch |bitte )?(?:nicht|nie|niemals)(?: bitte| sofort)? (?:stopp\w*|stop|aufhor\w*|aufhoer\w*|abmeld\w*|abbestell\w*)",
    r"\b(?:nicht|nie|niemals)(?: bitte| sofort)? (?:losch\w*|austrag\w*)|\bich habe? mich (?:\w+ ){0,2}nicht abgemeldet\b|\bhabe? ich mich (?:\w+ ){0,2}nicht abgemeldet\b",
    r"\b(?:hor\w*|hoer\w*|stopp\w*|stop|meld\w*|losch\w*)(?: sie| mich| bitte| ihr){0,3} (?:bitte )?(?:nicht|nie)\b(?! mehr)(?: MORE){0,3}",
    r"\bnon (?!(?:voglio|vorrei) (?:cancellatemi|cancellami|smettete(?:la)?|disiscrivetemi|toglietemi|toglimi|annullate)\b)(?:mi |ci |vi |voglio |vorrei |dovete |)*(?:smett\w+|ferm\w+|cancell\w+|disiscri\w+|stoppa\w*|annull\w+|togli\w+|interromp\w+)TIMES(?: MORE){0,4}",
    r"(?:^|\b(?:wil|wens|ga|gelieve|graag|aub|alstublieft|maar|en) )(?:me |mij |mezelf )?niet (?:meer )?(?:stopp\w*|stop|ophoud\w*|afmeld\w*|uitschrijv\w*)|\bniet verwijder\w*|\bstop\w* (?:\w+ )?niet\b(?! meer)",
    r"\b(?:meld|schrijf) (?:me|mij) niet (?:af|uit)",
)
"""Not to stop."""

OF_OTHERS = re.compile(
    r"\b(?:why|how come|(?<!thank )(?<!love )(?<!beg )you|u|guys|they|people|company|pourquoi"
    r"|(?<!je )(?<!\ba )(?<!chez )(?<!avec )vous(?! plait)|tu|ils|warum|wieso|sie|ihr|por que|ustedes"
    r"|perche|voi|waarom|jullie)(?: (?!(?:i|we|je|j|ich|yo|io|ik|please|pls|svp|thanks|merci|bitte|surtout)\b)\w+){0,3} $"
)
"""Before a negation: it says what others do not do, and asks for nothing to go on."""

OTHER_STOPS = _any(
    # English.
    r"\bstop(?:s|ped|ping)? (?:by|in|over|off|at|here|there|and (?:shop|go)|signs?|lights?|watch|press|motion|smoking|raining|working"
    r"|crying|loss|for (?:lunch|coffee|gas|dinner|petrol|you|a|some)|on (?:the|my|our) way)\b(?! (?:once|sending|texting))(?: (?:\w+ )?MORE)?",
    r"\b(?:bus|tram|train|metro|next|last|first|second|pit|rest|truck|full|non|short|door|one|shuttle|taxi|quick|coffee|lunch|subway) ?stops?\b",
    r"\b(?:didn t|doesn t|did not|does not) stop\b(?! (?:send|text|messag|call|contact|spam))|\b(?:has|have|had|it|phone|car|rain|clock|watch|heart|battery|music) stopped\b(?: MORE){0,2}",
    r"\bstop (?:kidding|joking|teasing|worrying|laughing|crying|lying|it you|being|making)\b(?: MORE){0,3}",
    r"\bcan t stop\b",
    r"\bcancel(?:l?ed|l?ing|lation|s)? (?:\w+ ){0,3}?(?:order|appointment|appt|booking|reservation|delivery|meeting|flight|tickets?|trip|class"
    r"|table|visit|payment|card|policy|insurance|contract|room|hotel|event|lesson|session|pickup|dinner|lunch|date)\b",
    r"\b(?:order|appointment|booking|reservation|delivery|flight|meeting|class|event|trip)(?: \w+){0,2} cancel\w*",
    r"\b(?:the|this|week|year|month|s|dead|book|front|back|high|low|other) end\b|\b(?:at|by|in) (?:the )?end\b|\bend (?:of|up|date)\b",
    r"\bquit (?:my|smoking|the|work|school|drinking|a|their|his|her)\b",
    r"\bremove (?:the|it|this|that|an?|one|item)\b(?! (?:number|name))(?: MORE){0,2}",
    # French.
    r"(?<!ca )(?<!cela )(?<!tout )\b(?:j|jm|m|s|t|ai|as|a|avons|ont|est|suis|jai|se|nous nous|vais) (?:m )?arret\w+"
    r"\b(?! (?:ces|vos|les|tes|cet|cette|l envoi|d envoyer|tous|toutes|tout|svp|de (?:m|me|nous|recevoir))\b)(?: (?:de |a |au |chez |pour |l )?MORE)?",
    r"\barrets? (?:de |du |d |des |en |au )?(?:bus|tram\w*|train|metro|travail|maladie|cardiaque|cour|cassation|production|car|navette|jeu|gare|place|sport|tabac)\b",
    r"\ba l arret\b|\barret a \w+|\bvous arreter (?:a|au|chez|pour)\b|\barret\w* (?:toi|vous) (?:a|au|chez|pour|la|ici|devant)\b(?: MORE)?|\barret le plus\b|\b(?:prochain|dernier|premier|mon|un|en|au|quel|sans|deux) arrets?\b(?! (?:de |des |d )?(?:vos|ces|tes|l envoi|MSG))",
    r"\b(?:annul|report|decal)\w* (?:\w+ ){0,3}?(?:commandes?|rdv|rendez vous|reservation|livraison|vol|billets?|table|seance|cours|achat|panier|paiement"
    r"|carte|visite|place|chambre|hotel|voyage|match)\b",
    r"\b(?:commande|rdv|rendez vous|reservation|vol|match|cours)(?: \w+){0,3} annule\w*",
    r"\b(?:faire|fait|fais|petit|auto|du) (?:un |petit |)*stop\b(?! \d)|\bstop (?:a|au|chez|dans|devant|pres)(?: l| la)? (?!\d|tous|toutes?|tout|ces|vos)\w+",
    r"^stop par ici\b(?: MORE)?",
    # Spanish.
    r"\bcancel\w* (?:\w+ ){0,2}?(?:pedido|cita|reserva|compra|vuelo|billete|envio|entrega|orden)\b",
    r"\b(?:pedido|cita|reserva|vuelo)(?: \w+){0,2} cancel\w*",
    r"\b(?:par|parar|parada|paro|paramos) (?:en|de autobus|a)\b(?: MORE)?",
    r"\b(?:planta|temporada|voz|batería|bateria|presion|esta|de|precio|estoy de) baja\b(?! (?:de|por favor))|\bbaja (?:el|la|los|del|medica|temporada)\b",
    # German.
    r"\b(?:termin\w*|bestellung|buchung|reservierung|flug|tisch)(?: \w+){0,3} (?:absag\w*|abgesagt|stornier\w*|kundig\w*|verschieb\w*|abbestell\w*)",
    r"\b(?:stornier|absag|kundig)\w* (?:\w+ ){0,3}?(?:termin\w*|bestellung|buchung|vertrag|wohnung)\b|\bstop?puhr\b|\b(?:nachster|zwischen) ?stopp?\b",
    r"\b(?:habe|hat|hab) (?:\w+ )?(?:gestoppt|aufgehort)|\bhort? auf zu (?:regnen|rauchen)|\bstopp?(?:e|en)? (?:in|bei|am)\b(?: MORE)?",
    # Italian.
    r"\b(?:annull|cancell|disd|spost)\w* (?:\w+ )?(?:l |il |la |mio |mia )*(?:ordine|appuntamento|prenotazione|volo|biglietto|consegna|visita)\b",
    r"\b(?:ordine|appuntamento|prenotazione|volo)(?: \w+){0,2} (?:annullat|cancellat)\w*|\bmi fermo\b|\bstop (?:al|alla|in|da)\b(?: \w+)?"
    r"|\b(?:mi|ci|vi|ti) basta\b|\bbasta (?:che|cosi|un|una|poco)\b",
    # Dutch.
    r"\b(?:bestelling|afspraak|reservering|tafel|vlucht)(?: \w+){0,3} (?:annuleer\w*|annuleren|afzeggen|verzetten|afmelden)",
    r"\b(?:annuleer|zeg|verzet)\w* (?:\w+ ){0,3}?(?:bestelling|afspraak|reservering|vlucht)\b|\bik stop (?:met|bij|in|even)\b(?: MORE)?|\b(?:ben|is|zijn) gestopt\b(?: MORE)?",
)
"""The word, about something else."""

STOP_MESSAGES = _any(
    # English.
    r"\b(?:stop|cease|quit|end)(?:ping|s)? (?:\w+ ){0,3}?(?:send|text|txt|messag|msg|call|contact|spam|bother|harass|bugg|annoy|disturb|email|mail|writ|advertis|ping)(?:ing|in|s|e|me)?\b",
    r"\b(?:stop|cease|quit|end)(?:ping|s)? (?:(?:with|all|the|these|those|this|your|ur|any|sending|of|my|me|receiving|getting|future|further|damn|fucking|bloody|stupid|annoying) )*MSG\b",
    r"\b(?:do not|don t|dont|dnt|never|pls no|please no|not) (?:ever |you ever |you |please |u )?(?:text|txt|message|msg|call|contact|spam|email|mail|write|bother|disturb)\b(?! (?:back|me back|until|after|before|yet))",
    r"\b(?:do not|don t|dont|dnt|never) (?:ever |please |you )*send\b(?: (?:me|us|it|any\w*|more|this|these|your|those|messages?|sms|texts?|stuff|again|anything|to|number))+(?: again| any\s?more)?",
    r"\b(?:do not|don t|dont|dnt|no longer|not|didn t|never) (?:want\w*|wanna|wish\w*|agree\w*|consent\w*|care|like|sign\w* up|asked|ask)(?: \w+){0,4}?"
    r" (?:MSG|hear\w*|contacted|contact|receiv\w*|get(?:ting)?|these|those|any ?more|from you|on (?:your|this|the) list)\b",
    r"\b(?:no more|enough of|enough with|no) (?:of )?(?:(?:these|your|the|this|more|fucking|marketing|those|further|promo\w*) )*MSG\b(?! (?:received|yet|came|arrived|from (?:you|him|her)))",
    r"\b(?:un ?sub\w*|unsus?cri\w*|opt(?:ing|ed)? (?:me |us |this number )?out|optout|optmeout)\b",
    r"\b(?:remove|delete|erase|drop|scrub) (?:me|us|my (?:\w+ )?(?:number|name|phone|cell|mobile|contact\w*|info\w*|details|data|num|no)|this (?:number|phone))\b",
    r"\b(?:take|get|want|be|gets?) (?:me |us |my (?:name|number) |this number )?(?:off|removed from|out of) (?:of )?(?:your |this |the |ur |all |that )*(?:\w+ )?(?:list\w*|database|system|records)",
    r"\b(?:take|get) (?:me|us|my number|my name|this number) off\b|\bleave (?:me|us) (?:the \w+ |tf )?alone|\blose (?:my|this) number|\bcease and desist|\bmake (?:it|this|them) stop\b|\bi want out\b",
    r"\b(?:revoke|withdraw)\w* (?:\w+ )?(?:my |all )?(?:consent|permission)|\bi (?:hereby )?(?:revoke|withdraw)\b|\bi object\b|\b(?:want|like|wish|asking|need) (?:you |u )?to stop\b(?! by)|\bdo not call\b|\bif (?:you|u) (?:do not|don t|dont) stop",
    r"\b(?:cancel|end) (?:(?:my|the|these|this|all|your|sms|text) )*(?:subscription|sub|MSG)\b|^no more(?: please| thanks| pls)?$|\b(?:don t|do not|dont) want (?:this|these|it|them|any)(?: any ?more)?$|\bturn off (?:\w+ )?MSG|\bstop (?:my )?subscription|\bno longer (?:interested|subscribe)",
    # French.
    r"(?<!ai )(?<!jai )(?<!y a )(?<!as )(?<!recois )(?<!recoit )(?<!recu )(?<!avez )(?<!a )\b(?!(?:pas|aucun) (?:de |d )?\w+ (?:depuis |avant )*hier\b)(?:plus|pas|marre|assez|jamais|rien|zero|aucune?|raz|ras le bol|fini)"
    r" (?:(?:de|d|des|vos|tous|tes|ces|les|recevoir|le|la|besoin|vouloir) )*(?:sms|mms|textos?|messages?|mess|msgs?|pubs?|publicites?|mails?|emails?|notifs?|notifications?"
    r"|relances?|appels?|spams?|newsletters?|demarchage|prospection|sollicitations?)\b(?! (?:de sa|recu|de ma|de mon|s affiche))",
    r"\b(?:veu[xt]|souhait\w*|desir\w*|voudrais|aimerais|voul\w+|envie)(?: \w+){0,2}? (?:plus|pas|pu|aucun\w*|jamais|rien)\b(?! (?:rater|manquer|louper|perdre|oublier))"
    r"(?: \w+){0,4}? (?:recevoir|MSG|contact\w*|entendre|appel\w*|sollicit\w*|demarch\w*|derang\w*|de vous|vos|d etre)\b",
    r"\b(?:n en|en|nen) (?:veu[xt]|voul\w+) (?:plus|pas|pu)\b|\b(?:veu[xt]|voul\w+|souhait\w*) (?:plus|pu|pas) (?:de|d|des|tout ca|vos|rien)(?: vos| vous| tout)?(?: MSG)?$",
    r"\b(?:ne|n) (?:plus|pas|jamais) (?:jamais )?(?:me |m |nous |)(?:recevoir|contacter|recontacter|ecrire|envoyer|appeler|rappeler|deranger|solliciter|relancer|texter|demarcher|spammer|importuner)\b(?! (?:mon|ma|le colis|avant))",
    r"\b(?:plus|jamais|arreter de|cesser de|refuse de|pu) (?:(?:rien|me|en|les?|du tout|vouloir) )*(?:recevoir|contacter|m (?:ecrire|envoyer|appeler|embeter|solliciter))\b",
    r"\b(?:(?:ne|n) )?(?:me |m |nous )(?:re)?(?:contact|ecri|envoy|envoi|appel|derang|sollicit|relanc|text|demarch|rappel|spamm|harcel|embet|import)\w*"
    r"(?: moi)?(?: \w+){0,1}? (?:plus|pu|jamais)\b(?! (?:tard|tot|vite|d info\w*))|\b(?:ne|n) (?:me |m |nous )?(?:re)?(?:contact|ecri|envoy|appel|rappel|derang|sollicit|relanc|text|demarch)\w*(?: moi| nous)? (?:pas|plus|jamais)\b",
    r"\bn (?:envoy|ecri|appel)\w* (?:plus|pas|jamais)\b|\benvoye[zr]? (?:moi )?plus (?:rien|jamais|de)\b",
    r"(?<!\bj )(?<!\bs )(?<!ai )(?<!jai )(?<!\ba )(?<!\bas )(?<!ont )\b(?:arret|aret|arrett|cess|stop)\w*(?: (?:donc|tout|tous|toutes?|de|d|svp|stp|avec|immediatement|maintenant|un peu|merci))*"
    r" (?:m|me|nous|vos|tes|ces|les|cet|cette|l|ca|cela|envoi\w*|envoy\w*|harcel\w*|spam\w*|pub|MSG)\b(?! (?:arreter|a paris))",
    r"\b(?:des|dez|dis|de) ?(?:abo|abbo)n\w*|\bdesabo\b|\bdes? ?in?scri\w*|\bdesinc?scri\w*",
    r"\b(?:retir|supprim|enlev|effac|ray|sort|vir|radi|ot)\w* (?:moi|nous|(?:mon|ce) (?:numero|num|no|tel\w*|nom|contact|portable|adresse|mail)|mes (?:coordonnees|donnees|infos))\b",
    r"\b(?:me|m|nous) (?:retir|supprim|enlev|effac|ray|sort|vir|radi|ot)\w*(?: \w+){0,3} (?:listes?|fichiers?|bases?|diffusion|contacts)",
    r"\b(?:laiss\w*|laise\w*|foute?\w*|fich\w*|fout\w*) (?:moi|nous|me) (?:tranquille|trankil\w*|en paix|la paix)|\blache[zr]? (?:moi|nous)\b|\bme (?:laisser|lacher)(?: tranquille)?\b",
    r"\b(?:retir|revoqu|retire)\w* (?:mon|tout) consentement|\bje (?:m oppose|refuse|me retire)\b|\bopposition (?:a|au|aux)\b|\bfaut que ca s arrete|\bveuillez (?:\w+ )?(?:cesser|arreter|stopper)|\b(?:me|m) desabo\w*|\bl arret (?:de |des |d )?(?:vos |ces |tes |tous |toute |l envoi |les )*(?:MSG|envoi)|\betre (?:retir|supprim|enlev|ray|effac|desinscr)\w*",
    r"\b(?:annul|resili)\w* (?:\w+ ){0,2}?(?:abonnement|inscription) (?:aux? |a (?:vos|ces|la|votre) |)(?:\w+ )?MSG|\b(?:annul|resili)\w* (?:\w+ ){0,2}?(?:sms|inscription)\b",
    r"\b(?:stop|non) (?:a|aux|au) (?:(?:vos|ces|toutes?|tous|la|les) )*MSG",
    # Spanish.
    r"\b(?:dar|darme|dame|denme|deme|dadme|doy|quiero|solicito|pido|pedir|daros|date|tramit\w+)(?: \w+){0,4}? baja\b|\bme doy de baja|\bde baja por favor|\bbaja (?:del?|por favor|sms|inmediata|total|definitiva)\b|\bdarse de baja\b|\b(?:quitar|sacar|borrar|eliminar)(?:me|nos)? de (?:la|su|tu|esta|vuestra) lista\b",
    r"\bno (?:me|nos) (?:envie[ns]?|envieis|mande[ns]?|mandeis|llame[ns]?|llameis|escriba[ns]?|escribais|contacte[ns]?|contacteis|moleste[ns]?|molesteis|vuelva[ns]? a)\b",
    r"\bno (?:quiero|deseo|queremos|necesito)(?: \w+){0,3}? (?:recibir\w*|MSG|que me|saber nada|nada)\b|\bno (?:enviar|envien|enviarme|mandar|manden|llamar|llamen|molestar|molesten)\b",
    r"\b(?:dej|ces|par)(?:e|en|a|ar|ad|es|eis) (?:ya )?de (?:enviar|mandar|llamar|escribir|molestar|contactar|acosar|spam)\w*|\b(?:no|ni un|basta de|ya basta de|nada de) (?:mas )?MSG\b|\bno mas\b",
    r"\b(?:borr|elimin|quit|saqu|sac)\w*(?:me|nme|dme)\b|\b(?:borr|elimin|quit)\w* (?:mi|este) (?:numero|telefono|nombre|contacto|movil)\b|\b(?:dej\w*|deja)(?:n?me|dme) en paz|\bdejad?me (?:tranquil\w+)",
    r"\b(?:cancel|anul)\w* (?:\w+ ){0,2}?(?:suscripcion|MSG)\b|\b(?:des|dese?)u?s(?:u|c)scri\w*|\bdesuscri\w*|\bdesapunt\w*|\bretiro mi consentimiento|\bme opongo\b",
    # German.
    r"\babmeld\w*|\babbestell\w*|\b(?:meld|trag|bestell|nehm|nimm)\w*(?: \w+){0,5} (?:ab|aus|raus)\b(?! (?:und zu|(?:mon|diens|donners|frei|sams|sonn)tag|mittwoch|morgen|heute|nachste\w*))|\b(?:mich|bitte) (?:\w+ )?(?:austragen|abmelden|loschen|loeschen|entfernen|streichen)\b|\babgemeldet werden",
    r"\bkeine?n?(?: \w+){0,3}? (?:\w*sms|\w*werbung|MSG|kontakt\w*|infos?) mehr\b|\b(?:will|mochte|moechte|wunsche|wuensche|bitte|brauche|wollen|mag) (?:ich )?(?:\w+ )?kein\w* (?:weitere\w* )?(?:mehr )?(?:\w*werbung|MSG|anrufe)\b",
    r"^(?:bitte )?keine?n? (?:weitere\w* |mehr )?(?:sms|werbung|werbesms|nachrichten|anrufe|mails|sms werbung)(?: mehr)?(?: bitte| danke)?$|\bunterlass\w*|\bwill (?:das|es|dies|diese \w+|ihre \w+) nicht(?: mehr)?$|\bnie wieder (?:\w+ )?(?:sms|schreiben|anrufen|werbung)",
    r"\bh(?:o|oe)r(?:t|en|)(?: \w+){0,5} auf\b|\b(?:auf)(?:zu)?(?:hor|hoer)en\b|\bstop+(?:t|en|e)(?: \w+){0,3} (?:sms|nachrichten|werbung|mails|anrufe|das)\b",
    r"\b(?:nicht|nie)(?: mehr| weiter| wieder| langer){1,2} (?:\w+ ){0,2}?(?:an)?(?:ge)?(?:schreib\w*|schrieb\w*|ruf\w*|kontaktier\w*|schick\w*|send\w*|zusend\w*|text\w*|belastig\w*|erhalten|bekommen|angeschrieben|angerufen)",
    r"\b(?:schick|schreib|ruf|kontaktier|send|schreiben|belastig)\w*(?: \w+){0,5} (?:nicht|nie|keine?|nichts)(?: \w+){0,3} (?:mehr|an|wieder)\b",
    r"\b(?:losch|loesch|entfern|streich|nehm|nimm)\w*(?: sie| bitte| sofort){0,2} (?:mich|meine (?:\w*nummer|daten)|diese nummer)\b|\bmeine (?:\w*nummer|daten)(?: \w+){0,4} (?:losch|loesch|entfern)\w*",
    r"\braus aus (?:\w+ ){1,2}(?:liste|verteiler)\b|\bschluss (?:damit|(?:jetzt )?mit (?:\w+ ){0,2}MSG)\b",
    r"\blass(?:t|en)?(?: sie)? mich(?: \w+)? in ruhe|\bwiderruf\w*|\bwidersprech\w*|\bwiderspruch\b",
    # Italian.
    r"\b(?:non|mai)(?: ne)? (?:voglio|desidero|intendo|vorrei|vogliamo)(?: \w+){0,3}? (?:ricev\w+|MSG|essere|contatt\w+|sapere|saperne)\b|\bnon ne voglio (?:piu|altri)",
    r"\bnon (?:mi|ci) (?:mandate|mandare|mandi|inviate|inviare|invii|contattate|contattare|contatti|scrivete|scrivere|scriva|chiamate|chiamare|chiami|disturbate|disturbare)\b",
    r"\bnon (?:mandat|inviat|scrivet|chiamat|contattat|disturbat|mandar|inviar|scriver|chiamar|contattar)\w*mi\b|\bnon inviate\b|\bnon (?:scriver|inviar|mandar|chiamar|contattar|disturbar)e piu\b|\bfermate (?:\w+ ){0,2}MSG",
    r"\b(?:basta|niente|nessun|no|mai) (?:(?:con|di|piu|altri|altro|questi|i|le|gli|vostri|vostre|a) )*MSG\b|\bsmett\w+(?: \w+)? (?:di|con)\b|\bsmettetela\b",
    r"\bdis(?:is|in)?(?:s|)criv\w*|\bdisiscri\w*|\b(?:annull|cancell)\w* (?:\w+ )?(?:l )?(?:iscrizione|abbonamento)\b|\bcancell\w*(?:mi|temi)\b|\bcancell\w* (?:il |questo )?(?:mio )?(?:numero|nome|contatto)\b",
    r"\b(?:togl|rimuov|elimin|lev)\w*mi\b|\b(?:togl|rimuov|elimin|lev)\w* (?:il )?mio (?:numero|nome|contatto)\b|\blasciat?e?mi (?:in pace|stare)|\brevoco (?:il )?(?:mio )?consenso|\bmi oppongo\b",
    # Dutch.
    r"\buitschrijv\w*|\bafmeld\w*|\b(?:schrijf|haal|meld|zet|schrijven|halen|schrap)t?(?: \w+){0,4} (?:me|mij|mijn nummer|m n nummer)(?: \w+){0,5} (?:uit|af|uw lijst|lijst)\b|\b(?:schrijf|haal|schrap) (?:me|mij|mijn nummer)\b(?!(?: \w+)? (?:aan|in|op)\b)",
    r"\bverwijder (?:me|mij|mijn \w+|m n \w+|dit nummer)\b|\bmijn nummer(?: \w+){0,3} verwijder\w*",
    r"\bgeen (?:\w+ ){0,2}?(?:sms\w*|sms jes|MSG|contact|mails) (?:meer|a ?u ?b|svp|graag|alstublieft)\b|\b(?:wil|wens|hoef)(?: \w+){0,2} geen (?:\w+ )?MSG\b|^(?:graag )?geen (?:\w+ )?(?:reclame|sms\w*|berichten)$",
    r"\b(?:niet|nooit) (?:meer|langer|weer) (?:\w+ ){0,3}?(?:sms\w*|bel\w*|app\w*|stur\w*|contact\w*|ontvang\w*|lastig\w*|mail\w*|benader\w*|bericht\w*|gebeld)",
    r"\b(?:sms|bel|app|stuur|mail|contacteer|benader)t? (?:me|mij|ons)(?: \w+){0,2}? (?:niet|geen|nooit|niks)\b|\bniet (?:bellen|smsen|sturen|storen)\b|(?!\bhou(?:d|dt)? (?:me|mij|ons|hem|haar|u|jullie) (?:\w+ ){0,3}op de hoogte)(?:(?<!\bik )|(?!\w+ op dit moment (?:\w+ )?van (?!(?:\w+ ){0,3}MSG)))\bhou(?:d|dt)?(?: \w+){0,4} op\b|\bkap(?:pen)? (?:er|hier)?mee\b|\bkap(?:pen)? met (?:\w+ )?MSG|\bstop(?:pen)? met (?!roken|werken)\w+",
    r"\blaat (?:me|mij|ons)(?: \w+)? met rust|\bik (?:wil|hoef) (?:dit|deze|jullie)(?: \w+)? niet(?: meer)?$|\bschrijf (?:\w+ )?uit$|\bik wil (?:hier )?(?:van af|eraf|me afmelden|niet meer)\b|\btrek mijn toestemming in",
    # Said before, and said again in other words.
    r"\b(?:how many times|combien de fois|cuantas veces|quante volte)(?: \w+){0,4} (?:say|send|text|write|type|reply|tell|dire|envoyer|ecrire|taper|decir|enviar|escribir|scrivere|inviare)(?: \w+){0,2} (?:stopp?|baja|arret\w*)\b",
    r"\b(?:envoyer|dire|ecrire|taper) stop (?:encore )?(?:combien de|\w+) fois\b|\bwie oft(?: \w+){0,2} ich(?: \w+){0,2} stopp? (?:sagen|schreiben|senden|schicken)|\bhoe vaak(?: \w+){0,2} ik(?: \w+){0,2} stop (?:zeggen|sturen|schrijven)",
    r"\bno quiero (?:mas )?pare[ns]?\b|\bpor que no me (?:dan|dais|da) de baja\b|\bno me (?:han|habeis|ha) dado de baja\b|(?<!habe )(?<!hab )(?<!ich )\bmich (?:\w+ ){0,3}nicht abgemeldet\b|\bperche non mi (?:cancell|disiscriv|togli)\w*|\bperdere? (?:mas |altro )?(?:tiempo|tempo) con (?:\w+ ){0,3}MSG",
    r"\b(?:already|again|i|we|you|deja|have) (?:already )?(?:said|sent|replied|texted|told|wrote|asked) (?:\w+ ){0,3}?stop\b",
    r"\b(?:envoye|ecrit|mis|repondu|tape|dit|demande|envoi|redis|redit|dis|repete)(?: \w+){0,3} (?:stop|arret\w*|desabo\w*)\b(?! a)",
    r"\b(?:dije|dicho|enviado|puse|pedi)(?: \w+){0,2} (?:stop|baja)\b|\b(?:schon|bereits)(?: \w+){0,3} stopp?\b|\b(?:gia|ho)(?: \w+){0,3} stop\b|\b(?:al|heb)(?: \w+){0,4} stop\b",
)
"""A withdrawal in words."""

IN_DOUBT = _any(
    r"\bf+u+c+k+\w*|\bf ck\b|\bpiss off|\bscrew (?:you|u)|\bbugger off|\bshut up|\bgo away|\bget lost|\bbuzz off|\bnot (?:\w+ )?interested|\bno interest\b|\bwrong (?:number|person)",
    r"\bwho gave you|\bhow did you get|\bspam+\w*|\bscam\w*|\bfraud\w*|\bharass\w*|\breport(?:ed|ing)? (?:you|this|it)|\blawyer|\bsue you|\bgdpr|\btcpa|\bfed up|\bsick of|\btired of|\btoo many|\bno thank\w*|\bnot me\b|\blet me out\b",
    r"\bcass\w* toi|\bva te faire|\ballez vous faire|\bvous faire foutre|\bta gueule|\bferme[zr]? la\b|\bconnard\w*|\bmerde|\bdegag\w*|\bchier|\bemmerd\w*|\bsaoul\w*|\bgonfl\w*|\bpas interesse\w*|\bpas interresse\w*|\binteresse pas",
    r"\b(?:mauvais|faux|erreur de) num\w*|\barnaqu\w*|\bharcel\w*|\bsignal\w*|\bplainte|\bavocat|\bcnil\b|\brgpd\b|\btrop de|\bmarre\b|\bras le bol|\bca suffit|\bsuffit\b|\bnon merci|\bsans arret|\b(?:vous|tu) (?:n )?arret\w* (?:pas|jamais)",
    r"\b(?:resili|annul|suspend|arret)\w* (?:\w+ ){0,2}?(?:abonnement|adhesion|inscription|carte)|\babonn\w* (?:\w+ ){0,2}(?:annul|resili)\w*|\bqui (?:vous|t) a donne|\bplus (?:de |d )(?:promos?|offres?)\b|\b(?:suis|ete|etes) desabonn\w*|\bplus jamais (?:ca|cela)\b|^plus jamais$|^je (?:ne |n )?veux plus$",
    r"\bno me interesa\w*|\bno interesa|\bnumero equivocado|\bestafa|\bacos\w*|\bdenunci\w*|\bjod\w*|\bgilipollas|\bmierda|\bputa\b|\bdemasiad\w*|\bno gracias|\bhart[oa]\b|\bno par(?:a|an) de|^nada mas$",
    r"\bkein\w* interesse|\bnicht interessiert|\bfalsche (?:nummer|person)|\bbetrug|\bbelastig\w*|\banwalt|\bdsgvo|\bscheiss?\w*|\bverpiss\w*|\barsch\w*|\bzu viele?\b|\bnein danke|\breicht (?:es|jetzt|mir)|\bes reicht|\bnerv\w*|\bkundig\w*|^keine mehr$",
    r"\bnon (?:\w+ )?interess\w*|\bnumero sbagliato|\btruffa|\bcazz\w*|\bvaffa\w*|\bstronz\w*|\btropp\w* (?:sms|messagg\w*)|\bno grazie|\bche palle|\brotto|^non voglio$|\bdisdi\w*|\bdenunci\w*|\bbasta\b",
    r"\bgeen interesse|\bniet geinteresseerd|\bverkeerd nummer|\boplicht\w*|\brot op|\bflikker op|\boprotten|\bklootzak\w*|\bte veel|\bteveel|\bnee (?:bedankt|dank)|\bzat\b|\bopzeg\w*|\bavg\b|^niet meer$|^weg ermee$|^laat maar$",
)
"""A withdrawal perhaps: a person decides."""

RESTART = _any(
    r"\breabonn\w*|\bre abonn\w*|\breinscri\w*|\babonnez moi|\bje m abonne|\binscrivez moi|\bje (?:veux|souhaite) (?:bien )?recevoir|\bopt(?:ing)? (?:me )?(?:back )?in\b",
    r"\b(?:re ?)?subscribe me|\bsign me up|\bi want to (?:receive|subscribe|get)|\bstart (?:again|sending|texting)|\bsuscrib\w*me|\bquiero recibir|\banmeld\w* bitte|\bmochte (?:\w+ )?(?:sms|nachrichten) (?:erhalten|bekommen)",
    r"\biscriv\w*mi|\bvoglio ricevere|\bmeld me (?:weer )?aan|\bschrijf me in|\bik wil (?:\w+ )?ontvangen",
)
