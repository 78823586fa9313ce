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
    r"|prospection|harcelement|communications?|comunica\w+|offers|angebote|aanbieding\w*|promoties|telefoontjes|nieuwsbrie\w+"
    r"|boletin\w*|envios|envois)"
)

KEYWORDS = frozenset(
    # AWS, CTIA, Twilio and the FCC's (47 CFR 64.1200(a)(10)), with what people make of them in each language.
    "stop stops stopp stoppe stopper stoppen stopall stopsms stoppub stopt end quit cancel revoke remove unsubscribe"
    " unsubscribed unsub unsuscribe optout optingout td cease discontinue deactivate disable withdraw dnc donotcall desist removed rmv стоп στοπ stahp cesser cessez"
    " arret arrete arretes arreter arretez arrets stoppez stopez stoper desabonner desabonne desabonnez desabonnement desinscrire"
    " desinscription desinscrit desabo desinscrivez desactiver desactivez desactive desactivation"
    " baja vaja alto detener detengan detenganse cesen cesar parar pare paren parad cancelar cancela cancelacion desuscribir desuscribirme desuscribanme desapuntarme"
    " abmelden abmeldung abgemeldet abbestellen abbestellung austragen aufhoren aufhoeren"
    " disiscrivimi disiscrivetemi disiscrizione disiscrivermi cancella cancellami cancellatemi cancellazione basta smettetela"
    " smettila smettere smettete piantatela piantala finitela finiscila cancellare disattiva disattivare disattivate rimuovere"
    " afmelden afgemeld uitschrijven afmelding uitschrijving ophouden stopzetten cancelen sair".split()
)
"""Each is a withdrawal when it is all that is said."""
STOPS = frozenset(
    "stop arret arretez arreter arrete stopp stopper stopez stoper stoppez stoppen unsubscribe basta".split()
)
"""Those that mean it at the beginning or the end of more words, too."""
ONLY_ALONE = frozenset(
    "end quit cancel remove td alto parar pare paren parad baja basta cancela sair arrets arretes smettere stops cancella"
    " discontinue deactivate disable withdraw dnc cancelen cancelacion removed desactiver desactivez desactive desactivation vaja detener detengan cesen cesar cancellare disattiva disattivare disattivate rimuovere finitela desist".split()
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
    " schluss kappen kap para suprimir rimozione fermatevi fermati not don t dont anymore means fine mai nooit nie neen out blocked einstellen leave sto delete supprimer loschen loeschen verwijderen borrar eliminar exit terminate"
    " opposition retirer halte".split()
)
"""A withdrawal perhaps, when it is all that is said."""
BEGINS_WITH_STOP = re.compile(r"stopp?(?! (?:by|signs?|lights?|watch)\b)\b")
"""Whatever follows, it may be the keyword: `OTHER_STOPS` has prepositions, which begin "in Zukunft" too."""
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
_POLITE = (
    r"(?:please|pls|plz|thanks|thank you|thx|ty|hi|hello|hey|sorry|dear|svp|stp|s il (?:vous|te) (?:plait|plais)|merci(?: beaucoup| d avance)?|mrc|bonjour|bjr|bonsoir|salut"
    r"|cordialement|por favor|porfa|gracias|hola|buenas|bitte|danke|hallo|mfg|per favore|grazie(?: mille)?|ciao|prego|salve|alstublieft|aub|graag|dank (?:u|je)(?: wel)?|hoi|bedankt"
    r"|\d{4,})"
)
POLITE = re.compile(rf"^(?:{_POLITE} )+|(?: {_POLITE})+$")
"""Around a phrase they are no part of it."""
MESSAGE = re.compile(_MESSAGES)
SIGNS = {"\U0001f6d1": " stop "}
"""The stop sign says stop."""
REFUSING_SIGNS = "\u26d4\U0001f6ab\u270b\U0001f645\U0001f595\U0001f44e\U0001f621\U0001f620\U0001f92c\u274c"

_REACTION = (
    r"(?:liked|loved|disliked|laughed at|emphasi[sz]ed|questioned|reacted \S{1,12} to|removed an? \w+ from"
    r"|a (?:aime|adore|ri (?:a|de)|pas aime|mis en avant|souligne|questionne)|(?:le |ha |te )?(?:gusto|encanto|encanta|gusta)"
    r"|(?:ha )?(?:messo mi piace a|amato)|gefallt|gefiel|vond leuk)"
)
ELIDED = re.compile(
    r"\b([djlmnst])((?:appel|arret|ecri|embet|emmerd|enerv|enlev|ennuy|envo[iy]|harcel|importun|inscri|interess|oppos|ote[rz]|oubli|sms|utilis)\w*)\b"
)
"""French, without its apostrophe: menvoyez."""
REACTION = re.compile(rf"^\W*{_REACTION}\s*[:a]?\s*(?:[“«„\"][^”»\"]*|['‘].*|[“«„\"].*[”»“\"]\W*)$", re.DOTALL)
"""A tap-back of a telephone: it quotes our message, whose text has the word STOP, to the end."""

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
_LEAD = r"^(?:(?!stopp?|unsub|arret|baja|basta)\w+ )?"
"""One word in front of a question."""
_END_OF_IT = r"\b(?! (?:or|and|ou|ni|et|plus|ever|never|o|oder|of|en|mai|ne|e)\b)"
"""Nothing goes on: not "now or ever"."""
_OBJECT = r"(?:le|la|l|les|mon|ma|mes|cet|cette|un|une) (?!MSG|rien)\w+"
"""In French, what else is not to be sent: the parcel."""

# What refusals are made of, in all of the languages: negations, contacts, removals, what is the person's, and ends.
_NO = (
    r"(?:no|not|don|dont|dnt|never|nothing|without|ne|n|pas|plus?|aucun\w*|jamais|rien|ni|sans|kein\w*|nicht|nichts|nix|nie|ohne|non|nn|niente|nulla|nessun\w*|mai|senza|niet|niets|niks|geen|nooit|zonder|nunca|nada|sin"
    r"|basta|enough|genug|genoeg|assez|marre|inutile|rather|prefer\w*|liever)"
)
_CONTACT = (
    r"(?:MSG|texting|texted|call|calls|calling|ring|contact\w*|kontakt\w*|contatt\w*|appel(?:er|ez|s)?|llam(?:e[ns]?|ar|eis|en|ando)|anruf\w*|rufen|ruft|chiam(?:ate|are|i|ata)|bel|bellen|belt|gebeld|schreib\w*|ecri[rtv]\w*|escrib\w*|scriv\w*"
    r"|send|sending|envo[iy](?!e\b)\w*|adresser|envi(?:e[ns]?|ar|eis|en)|invi(?:ate|are|i|o)|mand(?:ate|are|i|e|en|eis|ar|es)|schick\w*|senden?|sturen|stuur|receiv\w*|recevoir|recoiv\w*|recibir|ricevere|ontvangen|bother\w*|disturb\w*|derang\w*"
    r"|sollicit\w*|relanc\w*|demarch\w*|importun\w*|molest\w*|insist\w*|figurer|storen|belastig\w*|lastig\w*|benader\w*|consent\w*|permission|accord|autori[sz]\w*|einwilligung|zustimmung|toestemming|consenso|mitteilung\w*|listed|solicit\w*|opt|opted|agree\w*|subscri\w*|signed up|zugestimmt|stimme)"
)
_REMOVE = (
    r"(?:remov\w*|delet\w*|eras\w*|unlist|exclude|drop|scrub|discard|strike|cross|retir\w*|retrait|supprim\w*|suppression|effac\w*|enlev\w*|oublie[rz]?|radi\w*|elimin\w*|borr\w*|quit[ae]\w*|supri\w*|losch\w*|loesch\w*|entfern\w*"
    r"|streich\w*|austrag\w*|vergesst|vergessen sie|cancell\w*|rimuov\w*|tog?l[gi]\w*|togliere|dimentica(?:te|mi|temi)?|rimozione|verwijder\w*|schrap\w*|wis|vergeet|haal|deactivat\w*|desactiv\w*|disattiv\w*|deaktivier\w*)"
)
_OWN = r"(?:number|numero|nummer|\w+nummer|moi|mich|uns|mij|ons|info|data|details|donnees|coordonnees|datos|daten|dati|gegevens|MSG|list|liste|lista|lijst|verteiler|bestand|fichier\w*|base|database)"
_END = (
    r"(?:suspend\w*|suspen\w*|sospen\w*|interromp\w*|interrump\w*|bloqu\w*|block(?!buster)\w*|blocc\w*|blokk\w*|blockier\w*|terminat\w*|termine[rzs]?|beend\w*|beeindig\w*|disabl\w*|disabilit\w*|deshabilit\w*|deaktivier\w*|desactiv\w*|disattiv\w*"
    r"|mute|unwanted|refrain\w*|abstain\w*|evite[rz]|avoid|verzicht\w*|(?:mett\w*|mis) fin a|turn\w* (?:\w+ )?off|switch\w* off|fin|fini|finis|fine|ende|blacklist\w*|liste noire|interdi\w*|forbid\w*|forbad\w*|prohib\w*|verbiet\w*|verbied\w*|proib\w*)"
)
_THEIR = r"(?:(?:the|these|those|your|ur|all|any|my|de|des|du|d|l|les|vos|ces|tous|toutes?|a|from|los|las|sus|estos|todos|die|der|den|das|ihre|eure|alle|weitere|auf|gli|i|le|questi|vostri|con|deze|die|jullie|van|c est) )*"


def _any(*patterns: str) -> re.Pattern[str]:
    pattern = "|".join(rf"(?:{each})" for each in patterns)
    pattern = re.sub(r"\(\?: MORE\)(?=\{\d,\d\}[|)])", "()(?: MORE)", pattern)  # An empty group where the tail begins.
    parts = {
        "LEAD": _LEAD,
        "END": _END_OF_IT,
        "OBJECT": _OBJECT,
        "MSG": _MESSAGES,
        "MORE": _MORE,
        "TIMES": _TIMES,
        "PLEASE": _PLEASE,
    }
    for name, meant in parts.items():
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
    r"(?<!times )(?<!how )\b(?:if|when|should|must|shall|do) (?:i|we) (?:just |have to |need to )?(?:say|send|reply|text|type|write|answer|respond|stop|cancel)\b(?: \w+)? ?(?:stop)?",
    r"\bsi (?:j|je|on) (?:envoie|reponds?|tape|ecris|mets|dis)(?: \w+)? stop",
    r"(?<!fois )\b(?:est ce que je dois|doit on|dois je|faut il) (?:envoyer|repondre|taper|ecrire) stop\b(?! (?:\w+ )?fois)",
    r"(?<!ce )\bque (?:veut dire|signifie)(?: \w+)? stop|\bstop ou pas\b",
    r"PLEASE(?:annul|oubli|ignor)(?:e|er|ez) mon stop|PLEASEne (?:tenez|tiens|tenir) pas compte de mon stop|PLEASEne pas tenir compte de mon stop",
    r"\b(?:envoye|ecrit|mis|repondu|tape|dit|fait|clique)(?: \w+){0,2} stop par erreur|^stop par erreur$|\bdesabonn\w* par erreur|(?:^|\b(?:i|we|was|got|been) )unsubscribed by (?:mistake|accident)",
    r"\b(?:sent|said|texted|replied|typed|wrote|hit|pressed|put)(?: \w+){0,2} stop by (?:mistake|accident)|^stop by (?:mistake|accident)$",
    r"\bwhat (?:does|is|happens)(?: \w+){0,4} stop",
    r"\bwenn ich stopp?(?: \w+)? (?:schreibe|sende|antworte)|\bmuss ich stopp? (?:schreiben|senden|antworten)$|\b(?:was bedeutet|kostet) stopp?\b",
    r"\b(?:se scrivo|devo (?:scrivere|inviare|mandare|rispondere)|cosa (?:vuol dire|significa)) stop\b|\b(?:tengo que (?:enviar|escribir|mandar)|si (?:envio|escribo|mando)|que significa) (?:stop|baja)\b",
    r"(?<!vaak )\b(?:moet ik|wat betekent|kost) stop\b(?: (?:sturen|geld))?|\b(?:safe|free|cost\w*) to (?:reply|text|send) stop\b|\bdoes stop (?:cost|work)|^stop (?:c est|est) (?:gratuit|payant)|\bc est quoi (?:le )?stop\b|\bstop (?:or )?start$",
)
"""The word is spoken about: a person decides."""

KEEP = _any(
    # Negations: to go on.
    r"\b(?:do not|don t|dont|dnt|please not|no need to|didn t want to|didnt want to|not going to)"
    r" (?:ever |please |you |u |dare |want (?:you |u )?to |wanna |wish to |need (?:you )?to |mean to |)*"
    r"(?:stop|unsub\w*|cancel|opt out|optout|quit|remove|end|forget|miss|lose)\bTIMES(?: MORE){0,4}",
    r"(?<!it )(?<!texts )(?<!messages )(?<!msgs )(?<!sms )(?<!calls )(?<!spam )\bnever (?:ever )?(?:stop|unsub\w*|cancel|quit|remove)\bTIMES(?: MORE){0,4}",
    r"(?:\b(?:i|we) (?:\w+ )?(?:did not|didn t|didnt|have not|haven t|havent)) (?:unsub\w*|opt(?:ed)? out)\b(?! me| us| my| this)TIMES|^(?:did not|didn t|didnt) (?:unsub\w*|opt(?:ed)? out)$",
    r"LEADwhy (?:did|have) (?:you|u|they) stop(?:ped)?(?:$| (?:send|text|txt|messag|msg|writ|email|mail)(?:ing|in)\b(?: MORE){0,4}| (?:(?:the|my|your|all|these) )*MSG\b)",
    r"LEADwhy (?:am|was|were|have) (?:i|we) (?:been )?(?:unsub\w*|opted out|removed)(?: from(?: MORE){1,3}| now| today| again| please)?$",
    r"\b(?:did|have|has) (?:you|u|they) (?:already )?stop(?:ped)?\b(?: MORE){0,4}|^why (?:did|have|has) (?:(?:my|your|the|all) )*MSG stop(?:ped)?$|\bwhy (?:would|should) (?:i|we) stop$|\bnothing (?:can|will|could|s|is)? ?stop\w*(?: MORE){0,3}",
    r"\bhope (?:you|u|they|it) never stop\w*|\bich kann (?:\w+ )?nicht aufh(?:o|oe)ren(?: zu \w+)?|\bstop nooit\b(?: MORE){0,3}",
    r"\b(?:no|nunca) (?:quiero |deseo |queremos |)(?:dejar|dejo|deje[ns]?|dejeis|dejes) de\b(?: MORE){0,4}",
    r"\b(?:can t|cant|won t|wont) stop$|\bcan t stop won t stop\b|\b(?:can t|cant|cannot|won t|wont|couldn t|not) stop(?! (?:text|send|messag|msg|call|contact|spam)\w*| MSG)(?: MORE){1,1}",
    r"\b(?:n|ne) (?:me |m |vous |nous |te |t |l |les |la )?"
    r"(?:arret|desabonn|desinscri|stopp?|cess|supprim|annul|retir|resili|enlev|oubli)\w*(?: moi| surtout)? (?:surtout )?(?:pas|jamais)\bTIMES(?: MORE){0,5}",
    r"\bne (?:surtout )?(?:pas|jamais) (?:me |m |nous |vous |)(?:arreter|desabonner|desinscrire|stopper|cesser|supprimer|annuler|retirer|resilier)TIMES(?: MORE){0,5}",
    r"(?<!\bn )\b(?:arretez?|arretes|stoppez|stop(?= pas (?:les|vos|tes|la|l)\b| (?:surtout )?pas$)|desabonnez|desinscrivez)(?: moi)? (?:surtout )?pas\b(?! (?:mal|envie|interess\w*|interress\w*|d accord|besoin|content\w*|le temps|de (?:sms|pub)\w*))TIMES(?: MORE){0,4}",
    r"^(?:surtout )?pas stop$|^surtout pas (?:de )?stop$|\bne me suis (?:pas|jamais) (?:desabonn|desinscri)\w*",
    r"LEADpourquoi (?:vous |tu |ils )?(?:avez|as|ont)(?: vous| tu| ils)? arrete[sr]?(?:$| (?:(?:les?|vos|tes|mes|ces|l|d|de|m|me|nous) )*(?:envoi|envoyer|ecrire|contacter|MSG)\b(?: MORE){0,4})",
    r"(?:^|\b(?:je|j|on) )(?:(?:ne|n) )?(?:veux|veut|souhaite|desire|voudrais|aimerais)TIMES (?:surtout )?pas (?:(?:etre |me |m |se |s |vous |)(?:arreter?|desabonner?|desinscri(?:re|t)|stopper?)\b|(?:rater|manquer|louper|perdre|oublier)\b|que vous (?:arret|desabonn|desinscri|stopp)\w*|qu on arrete)(?: MORE){0,4}",
    r"(?:^|\b(?:je|j|on) )(?:(?:ne|n) )?(?:compte|vais|va) (?:surtout )?pas (?:me |m )?(?:arreter|desabonner|desinscrire|stopper)(?: maintenant| tout de suite| de vos \w+)?$",
    r"\bno quiero perder(?:me|nos)\b(?!.*\b(?:baja|stop|paren|parar|cancelar)\b)(?: MORE){0,4}|\bno quiero perder (?:(?:nada|las?|los|el|sus?|tus?|vuestr[ao]s|est[ae]s?|ningun\w*) ?)+(?:ofertas?|promo\w*|descuentos?|oportunidad\w*|noticias?|novedad\w*|mensajes?|$)",
    r"\bnon (?:voglio|vorrei) perder(?:mi|ci)\b(?: MORE){0,4}|\bnon (?:voglio|vorrei) perdere (?:nulla|niente|(?:(?:le|la|l|i|gli|una|nessun\w*|vostr[aei]|quest\w) )+(?:offert\w+|promo\w*|scont\w*|occasion\w*|sald\w*|novita|messagg\w*|notizi\w*))",
    r"\bno (?!quiero (?:cancele[ns]?|pare[ns]?|pares|pareis|dej(?:es|en|eis)|de[ns]?|borr(?:es|en)|elimin(?:es|en)|detengan)\b)(?:quiero |me |nos |vayan a |)*(?:cancelar|cancele[ns]?|parar|pares|paren|pareis|dej(?:es|en|eis) de|de(?:n|s|is)? de baja"
    r"|dar(?:me)? de baja|darme|borr(?:es|en)|elimin(?:es|en)|detengan)\bTIMES(?: MORE){0,4}",
    r"^(?:bis )?(?:wann|wie lange) h(?:o|oe)rt (?:d[ei][re]|das|euer|ihr|dieser?) (?!endlich|alles|mal\b|\w*(?:werbung|sms|spam|terror|belastig\w*)\b|MSG)\w+ auf$",
    r"^(?:(?:bis )?wann |wie lange )?h(?:o|oe)r(?:t|en) (?:d[ei][re]|das|diese[rs]?|[ei]ure?|ihre?)? ?(?:aktion\w*|angebote?|rabatte?|sale|ausverkauf|gutscheine?|verkauf|regen)\b(?: MORE){0,3} auf\b",
    r"(?:^|\b(?:will|mochte|moechte|wollte|werde|bitte|danke|aber|doch|und) )(?:mich |uns )?(?:noch |bitte )?(?:nicht|nie|niemals)(?: bitte| sofort)? (?:stopp\w*|stop|aufhor\w*|aufhoer\w*|abmeld\w*|abbestell\w*)",
    r"\b(?:nicht|nie|niemals)(?: bitte| sofort)? (?:losch\w*|austrag\w*)|\bich habe? mich (?:\w+ ){0,2}nicht abgemeldet\b|\bhabe? ich mich (?:\w+ ){0,2}nicht abgemeldet\b",
    r"\b(?:hor\w*|hoer\w*|stopp\w*|stop|meld\w*|losch\w*)(?: sie| mich| bitte| ihr){0,3} (?:bitte )?(?:nicht|nie)\b(?! mehr)(?: MORE){0,3}",
    r"\bnon (?!(?:voglio|vorrei) (?:cancellatemi|cancellami|smettete(?:la)?|disiscrivetemi|toglietemi|toglimi|annullate)\b)(?:mi |ci |vi |voglio |vorrei |dovete |)*(?:smett\w+|ferm\w+|cancell\w+|disiscri\w+|stoppa\w*|annull\w+|togli\w+|interromp\w+)TIMES(?: MORE){0,4}",
    r"(?:^|\b(?:wil|wens|ga|gelieve|graag|aub|alstublieft|maar|en) )(?:me |mij |mezelf )?niet (?:meer )?(?:stopp\w*|stop|ophoud\w*|afmeld\w*|uitschrijv\w*)|\bniet verwijder\w*|\bstop\w* (?:\w+ )?niet\b(?! meer)",
    r"\b(?:meld|schrijf) (?:me|mij) niet (?:af|uit)",
)
"""Not to stop."""

REFUSAL_PERHAPS = _any(
    rf"\b{_NO}(?: \w+){{0,4}} {_CONTACT}\b",
    rf"\b{_CONTACT}(?: \w+){{0,3}} (?:nicht|nichts|nix|nie|kein\w*|niet|niets|niks|geen|nooit|piu)\b",
    rf"\b{_REMOVE}(?: \w+){{0,3}} (?:me|us|mi|{_OWN})\b|\b(?:mi|{_OWN})(?: \w+){{0,3}} {_REMOVE}\b|\b(?:off|from|out of|van|uit|aus|de|dalla) (?:the|your|this|ur|de|die|der|dem|ihrem|jullie|la|su|vuestra|vostra|votre|vos)? ?(?:list|lists|lista|liste|listes|lijst|verteiler)\b",
    rf"\b{_END}(?: \w+){{0,3}} {_CONTACT}\b|\b{_CONTACT}(?: \w+){{0,2}} {_END}\b|\b{_END}(?: \w+){{0,2}} {_OWN}\b|\bliste noire\b|^(?:\w+ ){{0,2}}{_END}(?: (?:it|this|that|me|moi|mich|mij|you|vous|please|das|dies|sie|dit|ce numero))*$",
    r"^(?:no|nothing|never|plus|jamais|nicht|nichts|nix|nie|niet|nooit|niks|nunca|nada|non|mai) (?:more|again|rien|jamais|mehr|wieder|meer|mas|piu)(?: from you| de vous| von euch| van jullie)?$",
    # Words of refusal by themselves, and our messages spoken of by someone who does not praise them.
    r"\b(?:refus\w*|rejet\w*|reject\w*|rechaz\w*|unerwunsch\w*|unerwuensch\w*|ongewenst\w*|indesirable\w*|unsolicited|soliciting|ablehn\w*|verschon\w*|abstell\w*|rid of|dnc|registry|abmeld\w*|afmeld\w*|disiscri\w*|cancellar(?:si|mi)|sue|retrait)\b",
    r"\b(?:non|no|not|nicht|niet|pas) (?:\w+ )?(?:gradit\w*|desead\w*|gewunscht|gewenst|desire\w*|welcome)\b|\blehn\w*(?: \w+){0,3} ab$|\bstimme?(?: \w+){0,3} nicht zu\b|\benlace de baja\b|\b(?:evita(?:te|re)|satt|stuf[oai])\b",
    r"\b(?:said|dit|dije|dicho|gesagt|detto|gezegd) (?:que |di |dass )?(?:no|non|nein|nee)\b",
    r"^(?!.*\b(?:love|like|enjoy|great|good|nice|best|adore|aime|super|bien|merci|thanks?|danke|gracias|grazie|bedankt|dank|more|continue[zr]?|weiter|recu|received|bekommen|erhalten|recibido|ricevut\w*|ontvangen|attends|waiting|confirm\w*|want|quiero|voglio|veux|mochte|recevoir|ricevere|recibir|leuk|genial\w*|bell\w*)\b)"
    r".*\b(?:(?:your|these|those|vos|ces|tes|sus|vuestros|vuestras|estos|ihre|eure|euren|ihren|diese|jullie|deze|vostri|vostre|questi) (?:\w+ )?(?:sms\w*|texts|txts|messages|msgs|pubs|publicites|promos?|deals|mails|emails|mensajes|nachrichten|werbung|berichten|messaggi|offert[ae]|offres|ofertas|reclame)|pubs|publicites?|publicidad|werbung|reclame|pubblicita|spam|marketing|prospection|demarchage)\b",
    r"\b(?:do not|don t|dont|not) want(?:ed)?$|\bremoval\b|\b(?:will|mochte|moechte) (?:\w+ )?raus$|\bwil eruit$|\blass\w* (?:sie )?(?:das|es sein)$|\bdejen en paz|\b(?:smett|fini)(?:ano|amola)$|\buit te schrijven|\baf te melden|\bzeg op$|\binschrijving\b|\b(?:anular|baja del) alta\b|\b(?:me|m|nous) (?:retirer|supprimer|enlever|effacer|rayer|radier|desinscrire|desabonner)\b|\bbitte (?:austragen|loschen|loeschen|entfernen|streichen)$|\bdispens\w*",
)
"""A negation beside a word for a message or a contact, a removal beside the person's number or data, an end put to
something: a withdrawal, perhaps, in words that no other rule knows. What nobody thought of waits for a person, too."""

WHY = _any(
    rf"\b(?:why|pourquoi|por que|warum|wieso|perche|waarom) (?!(?:am|was|were|is|did|n|ne|no|not|non|nicht|niet)\b)(?:\w+ ){{0,3}}(?:{_CONTACT}|recois|ca)\b",
    r"\bwhere did you get|\bhow (?:do|can) (?:i|we|you) (?:cancel|leave|end)$|\bhow (?:do|did) (?:you|u) (?:have|find|get)|\bnever (?:heard of you|ordered)|\bwrong (?:guy|one|man|woman|contact)\b|\b(?:avez|as) eu mon numero|\bde donde (?:sacaron|tienen)|\bavete avuto il mio|\bkomen (?:jullie|u) aan|\bwer sind sie\b",
    r"\bpenible\w*|\blassant\w*|\blastig$|\bcansad[oa]s? de\b",
)
"""Annoyed by the message, or asking how it came to be."""

NOT_ARRIVED = _any(
    # Nothing came, which is a complaint about a message that is waited for.
    r"\b(?:no|not|never|didn t|did not|haven t|don t|zero|0) (?:(?!more|further|want\w*|need\w*|wish\w*|like|ask\w*|agree\w*|consent\w*|sign\w*)\w+ ){0,3}(?:MSG|code|parcel|order) (?:MORE ){0,2}(?:received|arrived|came|yet|from (?:him|her))\b|\b(?:got|received|have|had|see|seen|(?:is|are|was|were) there) no (?:\w+ )?MSG|\b(?:did not|didn t|didnt|have not|haven t|havent|never|not yet|still not) (?:\w+ )?(?:receiv\w*|g[eo]t|gotten|arriv\w*|come)\b(?: MORE){0,3}|\bno (?:code|parcel|order)(?: yet| again)? today\b",
    r"\b(?:ne |n )?(?:recois|recoit|recevons) (?:plus|pas|jamais|rien)\b(?: MORE){0,4}|\b(?:pas|aucun) (?:de |d )?MSG (?:depuis |avant )*hier\b|\b(?:ai|avons|a|ont|as|avez) (?:\w+ )?(?:pas|plus|jamais|rien|aucun\w*)(?: \w+){0,2} (?:recu|eu|vu|arrive)\w*(?: MORE){0,4}|\b(?:recu|arrive) (?:aucun|pas de|rien)\b(?: MORE){0,2}|\b(?:ai|avons|y a) (?:pas|plus) (?:de |d )(?:sms|mail\w*|message\w*|appel\w*|code)\b(?! de)(?: MORE){0,4}",
    r"\bno (?:me |nos )?(?:ha|han|he|hemos|llego|llega[ns]?|llegan|llegado)\b(?! (?:dado|dicho|autorizado))(?: MORE){0,4}|\bno recibi\b(?: MORE){0,3}",
    r"\b(?:habe?|haben|hat) (?:\w+ ){0,3}(?:kein\w*|nicht|nichts|nie)(?: MORE){0,3} (?:bekommen|erhalten|gekriegt|da)\b|^kein\w* (?:\w+ )?(?:sms|nachricht\w*|mail|code) (?:erhalten|bekommen)$|\bhabe? noch kein\w*(?: MORE){0,2}|\bich (?:\w+ )?bekomme (?:\w+ )?kein\w*(?: MORE){0,2}",
    r"\bnon (?:(?:ho|abbiamo|mi e|ci e|mi sono) )(?:\w+ ){0,2}(?:ricevut|arrivat|vist|avut)\w*(?: nessun\w* \w+)?(?: MORE){0,3}",
    r"\b(?:don t|dont|do not|didn t|did not|can t|cannot|couldn t) (?:understand|see|find|read|open|follow)\b(?: MORE){0,4}|\b(?:comprend\w*|compris|trouv\w*|vois) (?:pas|rien)\b(?: MORE){0,3}|\bno (?:entiendo|comprendo|encuentro|veo)\b(?: MORE){0,3}|\bversteh\w*(?: MORE){0,3} nicht\b|\bnon (?:capisco|trovo|vedo|ho capito)\b(?: MORE){0,3}|\bbegrijp(?: MORE){0,3} niet\b",
    r"\b(?:heb|hebben|is|zijn) (?:\w+ ){0,2}(?:geen|niet|niets|nooit)(?: MORE){0,3} (?:ontvangen|gehad|gekregen|aangekomen|binnen)\b|^geen \w+ (?:ontvangen|gehad|gekregen)$",
)
"""That something has not come or is not understood: about a message that the person waits for."""

FOR_NOW = _any(
    r"\b(?:do not|don t|dont|not) (?:call|ring|phone)(?: \w+){0,2} (?:now|today|tonight)END|\b(?:ne|n) (?:m |me |nous )?(?:appel|rappel)\w*(?: \w+)? pas (?:maintenant|aujourd hui|ce soir|ce matin)END",
    r"\bno (?:me |nos )?llam\w* (?:ahora|hoy)END|\bruf\w*(?: \w+){0,2} (?:morgen|heute|jetzt|gerade) nicht anEND|\bnon (?:mi |ci )?chiam\w* (?:adesso|ora|oggi|domani)END|\bbel\w*(?: \w+){0,2} (?:nu|vandaag) nietEND|\bbel\w*(?: \w+)? niet (?:nu|vandaag)END",
    r"\bno (?:\w+ ){0,2}MSG (?:today|tonight)END",
    r"\b(?:do not|don t|dont|not|never)(?: \w+){0,4} (?:before|until|till) (?:\d+\w*|noon|lunch|tomorrow|monday)\b",
    r"\b(?:ne|n)(?: \w+){0,5} avant (?:le |les |la )?(?:\d\w*|midi|lundi|demain)\b|\bno (?:\w+ ){1,4}antes de (?:las |la |el )?\w+|(?:\b(?:ruf|schreib|schick|send|meld|kontaktier)\w*(?: \w+){0,2} )?\bnicht(?: \w+){0,3} vor (?:\d+(?: uhr)?|dem \w+)\b(?: (?:an|anrufen|anzurufen|schreiben|senden|schicken|kontaktieren|storen)\b)?|\bvor \d+(?: uhr)? (?:bitte )?nicht \w+",
    r"\bnon (?:\w+ ){1,4}prima (?:delle|di|del) \w+|(?:\b(?:bel\w*|app|stuur) (?:\w+ ){0,2})?\bniet (?:\w+ )?voor \d+(?: uur)?(?: (?:bellen|opbellen|appen|smsen|sturen|storen|mailen|schrijven)\b)?",
)
"""Not now, or not before an hour: of a call that is waited for, or of all of them. Where it refuses nothing, it is about
the person: not at home until Monday."""

ARTICLES = frozenset("a the le un une du au el il lo uno der ein einen het een which what quel next".split())
"""Before a keyword they make a noun of it: a stop, le stop."""

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
    r"\bcan t stop\b|\bf stop\b|\b(?:at|from|near|after|before) (?:the|a|my|your|next) stop\b|\b(?:panneau|rue|avenue|feu|segnale|semaforo|senal|schild|bord)(?: (?:de |du |d |di |l |la |al ?)*)?(?:stop|arret)\b",
    r"\bcancel(?:l?ed|l?ing|lation|s)? (?:\w+ ){0,3}?(?:order|appointment|appt|booking|reservation|delivery|meeting|flight|tickets?|trip|class"
    r"|table|visit|payment|card|policy|insurance|contract|room|hotel|event|lesson|session|pickup|dinner|lunch|date)\b",
    r"\b(?:order|appointment|booking|reservation|delivery|flight|meeting|class|event|trip)(?: \w+){0,2} cancel\w*",
    r"\b(?:the|this|week|year|month|s|dead|book|front|back|high|low|other) end\b|\b(?:at|by|in) (?:the )?end\b|\bend (?:of|up|date)\b",
    r"\bquit (?:my|smoking|the|work|school|drinking|a|their|his|her)\b",
    r"\bremove (?:the|an?|one|item)\b(?! (?:number|name))(?: MORE){0,2}",
    # French.
    r"(?<!ca )(?<!cela )(?<!tout )\b(?:j|jm|m|s|t|ai|as|a|avons|ont|est|suis|jai|se|nous nous|vais) (?:m )?arret\w+"
    r"\b(?! (?:ces|vos|les|tes|cet|cette|l envoi|d envoyer|tous|toutes|tout|svp|de (?:m|me|nous|recevoir))\b)(?: (?:de |a |au |chez |pour |l )?MORE)?",
    r"\barrets? (?:de |du |d |des |en |au )?(?:bus|tram\w*|train|metro|travail|maladie|cardiaque|cour|cassation|production|car|navette|jeu|gare|place|sport|tabac)\b",
    r"\ba l arret\b|\barret a \w+|\bvous arrete[rz] (?:a|au|chez|pour)\b|\bvous vous arret\w*|\barret\w* (?:toi|vous) (?:a|au|chez|pour|la|ici|devant)\b(?: MORE)?|\barret le plus\b|\b(?:prochain|dernier|premier|mon|un|en|au|quel|sans|deux) arrets?\b(?! (?:de |des |d )?(?:vos|ces|tes|l envoi|MSG))",
    r"\b(?:annul|report|decal)\w* (?:\w+ ){0,3}?(?:commandes?|rdv|rendez vous|reservation|livraison|vol|billets?|table|seance|cours|achat|panier|paiement"
    r"|carte|visite|place|chambre|hotel|voyage|match)\b",
    r"\b(?:commande|rdv|rendez vous|reservation|vol|match|cours)(?: \w+){0,3} annule\w*",
    r"\b(?:faire|fait|fais|petit|auto|du) (?:un |petit |)*stop\b(?! \d)|\bstop (?:a|au|chez|dans|devant|pres)(?! (?:l |la |les )?(?:\d|tous|toutes?|tout|ces|vos|vie\b|jamais|l?instant|l?avenir|partir|present|plus\b|l?immediat))(?: l| la)? \w+",
    r"^stop par ici\b(?: MORE)?",
    # Spanish.
    r"\bcancel\w* (?:\w+ ){0,2}?(?:pedido|cita|reserva|compra|vuelo|billete|envio|entrega|orden)\b",
    r"\b(?:pedido|cita|reserva|vuelo)(?: \w+){0,2} cancel\w*",
    r"\b(?:par|parar|parada|paro|paramos) (?:en|de autobus|a)\b(?: MORE)?",
    r"\b(?:planta|temporada|voz|batería|bateria|presion|esta|de|precio|estoy de) baja\b(?! (?:de|por favor))|\bbaja (?:el|la|los|del|medica|temporada)\b",
    # German.
    r"\b(?:termin\w*|bestellung|buchung|reservierung|flug|tisch)(?: \w+){0,3} (?:absag\w*|abgesagt|stornier\w*|kundig\w*|verschieb\w*|abbestell\w*|losch\w*)",
    r"\b(?:stornier|absag|kundig)\w* (?:\w+ ){0,3}?(?:termin\w*|bestellung|buchung|vertrag|wohnung)\b|\bstop?puhr\b|\b(?:nachste\w*|zwischen) ?stopp?\b",
    r"\b(?:habe|hat|hab) (?:\w+ )?(?:gestoppt|aufgehort)|\bhort? auf zu (?:regnen|rauchen)|\bstopp?(?:e|en)? (?:in|bei|am)\b(?: MORE)?",
    # Italian.
    r"\b(?:annull|cancell|disd|spost)\w* (?:\w+ )?(?:l |il |la |mio |mia )*(?:ordine|appuntamento|prenotazione|volo|biglietto|consegna|visita)\b",
    r"\b(?:ordine|appuntamento|prenotazione|volo)(?: \w+){0,2} (?:annullat|cancellat)\w*|\bmi fermo\b|\bstop (?:al|alla|in|da)\b(?: \w+)?"
    r"|\b(?:mi|ci|vi|ti|me|te|nos|le|ne|quanto|con eso) basta\b|\bbasta (?:che|cosi|un|una|uno|poco|\w+re|con (?:\d|un|una|uno|dos|tres|eso|esto))\b",
    # Dutch.
    r"\b(?:bestelling|afspraak|reservering|tafel|vlucht)(?: \w+){0,3} (?:annuleer\w*|annuleren|afzeggen|verzetten|afmelden)",
    r"\b(?:annuleer|zeg|verzet)\w* (?:\w+ ){0,3}?(?:bestelling|afspraak|reservering|vlucht)\b|\bik stop (?:met|bij|in|even)\b(?: MORE)?|\b(?:ben|is|zijn) gestopt\b(?: MORE)?",
)
"""The word, about something else."""

STOP_MESSAGES = _any(
    # English.
    r"\b(?:stop|cease|quit|end)(?:ping|s)? (?:\w+ ){0,3}?(?:send|text|txt|messag|msg|call|contact|spam|bother|harass|bugg|annoy|disturb|email|mail|writ|advertis|alert|ping)(?:ing|ming|in|s|e|me)?\b",
    r"\b(?:stop|cease|quit|end)(?:ping|s)? (?:(?:with|all|the|these|those|this|your|ur|any|sending|of|my|me|receiving|getting|future|further|damn|fucking|bloody|stupid|annoying) )*MSG\b",
    r"\b(?:do not|don t|dont|dnt|never|pls no|please no|not) (?:(?:ever|you|please|u|dare) )*(?:text|txt|message|msg|call|contact|spam|email|mail|write|bother|disturb|ring|phone|use my)\b(?! (?:back|me back|until|after|before|yet|the (?!number|phone)|him|her|them|his))",
    r"\b(?:do not|don t|dont|dnt|never) (?:ever |please |you )*send(?:$| please$|\b(?! it (?:to|by|in|on|before|until|yet|there|with)\b))(?: (?:me|us|it|any\w*|more|this|these|your|those|messages?|sms|texts?|stuff|again|anything|to|number))*(?: again| any\s?more)?",
    r"\b(?:do not|don t|dont|dnt|no longer|not|didn t|never) (?:want\w*|wanna|need\w*|wish\w*|agree\w*|consent\w*|care|like|sign\w* up|asked|ask)(?: \w+){0,4}?"
    r" (?:MSG|hear\w*|contacted|contact|receiv\w*|get(?:ting)?|these|those|any ?more|from you|on (?:your|this|the) list|be (?:text|messag|call|bother|disturb|spam|email)\w*)\b",
    r"\bno (?:more|further) (?:contact|texting|calling|messaging|correspondence|of (?:this|these|that))\b|^(?:please )?no (?:texting|calling|messaging|contact)(?: please| me)?$|\b(?:rather|prefer|like|want|wish) (?:to )?not (?:to )?(?:receiv\w*|get|hear|be)\b|\b(?:rather|prefer) (?:you|u|that you) (?:did not|didn t|didnt|do not|don t|dont|not) (?:text|call|contact|messag)\w*",
    r"\b(?:be|get) (?:removed|taken off|taken out|unsubscribed|deleted|opted out)\b(?! (?:by|from (?:the|my) (?:order|cart|bag)))|\bremove from (?:\w+ ){0,2}list\w*|\b(?:take|get) (?:me|us|(?:my|this) (?:\w+ )?number) out\b(?! (?:to|for))|\btake off my (?:number|name)|\b(?<!n t )(?<!not )(?<!dont )(?<!never )forget (?:me$|(?:about )?my (?:phone )?number)",
    r"\b(?:consent|permission|authori[sz]ation)(?: (?:is|has been|was|hereby))* (?:revoked|withdrawn|rescinded|cancelled)|\b(?:not|never|no|don t|dont|didn t) (?:\w+ ){0,3}(?:consent|permission)\b(?! (?:form|slip))|\b(?:put|add) (?:me|this number|my number) (?:on|to) (?:\w+ ){0,3}(?:dnc|do not call)|\bleave (?:me|us) be\b|\blet (?:me|us) be$|\b(?:sick|tired|fed up) (?:of|with) (?:(?:all|these|your|the|those|receiving|getting) )*MSG|\bknock it off|\brequest(?:ing)? (?:\w+ ){0,2}(?:removal|opt out)|\bgive it a rest|\bhow (?:do|can|to|would) (?:i |you |we )?(?:stop|end|quit|get out of|get off) ?(?:it|this|these|that|getting\b.*|receiving\b.*)?$|\bstop (?:getting|receiving) (?:these|those|this|your|any)\b|\bcut it out$|\bpack it in$|\bcount me out",
    r"\b(?:discontinue|cease|desist)(?: (?:with|all|the|these|those|this|your|my|any|further))* (?:service|contact\w*|processing|from|MSG|and desist)\b|\bun(?:s\w{0,4})?c?ri[bv]\w*|\bopt?(?:ing|ed|s)? ?(?:oit|otu|uot|ot)\b|\bop out\b|\bstop (?:processing|using) my\b",
    r"\b(?:no more|enough of|enough with|no) (?:of )?(?:(?:these|your|the|this|more|fucking|marketing|those|further|promo\w*) )*MSG\b(?! (?:received|yet|came|arrived|code|from (?:him|her)))",
    r"\b(?:un ?sub\w*|unsus?cri\w*|opt(?:ing|ed)? (?:me |us |this number )?out|optout|optmeout)\b",
    r"\b(?:remove|delete|erase|drop|scrub) (?:me|us|my (?:\w+ )?(?:number|name|phone|cell|mobile|contact\w*|info\w*|details|data|num|no)|this (?:number|phone))\b",
    r"\b(?:take|get|want|be|gets?) (?:me |us |my (?:name|number) |this number )?(?:off|removed from|out of) (?:of )?(?:your |this |the |ur |all |that )*(?:\w+ )?(?:list\w*|database|system|records)",
    r"\b(?:take|get) (?:me|us|my \w+|this number) off\b(?! hold| the (?!list)| \d{1,2}\b| (?:\w+ ){0,2}(?:list|order))|\bleave (?:me|us) (?:the \w+ |tf )?alone|\blose (?:my|this) number|\bcease and desist|\bmake (?:it|this|them) stop\b|\bi want out\b",
    r"\b(?:revoke|withdraw)\w* (?:\w+ )?(?:my |all )?(?:consent|permission)|(?<!can )(?<!could )(?<!may )\bi (?:hereby )?(?:revoke|withdraw)\b(?! (?:cash|money|\d))|\bi object(?:$|(?: \w+){0,2}? to (?:this|these|the (?:use|processing)|your|any|all|my|being|receiving|you|direct|further|MSG)\b)|\b(?:want|like|wish|asking|need) (?:you |u )?to stop\b(?! by)|\bdo not call\b|\bif (?:you|u) (?:do not|don t|dont) stop",
    r"\b(?:cancel|end) (?:(?:my|the|these|this|all|your|sms|text) )*(?:subscription|sub|MSG)\b|^no more(?: please| thanks| pls)?$|\b(?:don t|do not|dont) want (?:this|these|it|them|any)(?: any ?more)?$|\bturn off (?:\w+ )?MSG|\bstop (?:my )?subscription|\bno longer (?:interested|subscribe)",
    # French.
    r"(?<!ai )(?<!jai )(?<!y a )(?<!as )(?<!recois )(?<!recoit )(?<!recu )(?<!avez )(?<!a )\b(?!(?:pas|aucun) (?:de |d )?\w+ (?:depuis |avant )*hier\b)(?:plus?|plu|pu|pas|marre|assez|jamais|rien|zero|0|ni|aucune?|raz|ras le bol|fini)"
    r" (?:(?:de|d|des|vos|tous|tes|ces|les|recevoir|le|la|besoin|vouloir) )*(?:sms|mms|textos?|messages?|mess|msgs?|pubs?|publicites?|mails?|emails?|notifs?|notifications?"
    r"|relances?|appels?|spams?|newsletters?|demarchage|prospection|sollicitations?|communications?)\b(?! (?:de sa|recu|de ma|de mon|s affiche))",
    r"\b(?:veu[xt]|souhait\w*|desir\w*|voudrais|aimerais|voul\w+|envie)(?: \w+){0,2}? (?:plus|pas|pu|aucun\w*|jamais|rien)\b(?! (?:rater|manquer|louper|perdre|oublier))"
    r"(?: \w+){0,4}? (?:recevoir|MSG|contact\w*|entendre|appel\w*|sollicit\w*|demarch\w*|derang\w*|de vous|vos|d etre)\b",
    r"\b(?:n en|en|nen) (?:veu[xt]|voul\w+) (?:plus|pas|pu)\b|\b(?:veu[xt]|voul\w+|souhait\w*) (?:plus|pu|pas) (?:de|d|des|tout ca|vos|rien)(?: vos| vous| tout)?(?: MSG)?$",
    r"\b(?:ne|n) (?:plus|pas|jamais) (?:jamais )?(?:me |m |nous |)(?:recevoir|contacter|recontacter|ecrire|envoyer|appeler|rappeler|deranger|solliciter|relancer|texter|demarcher|spammer|importuner)\b(?! (?:mon|ma|le colis|avant))",
    r"\b(?:plus|jamais|arreter de|cesser de|refuse de|pu) (?:(?:rien|me|en|les?|du tout|vouloir) )*(?:recevoir|contacter|m (?:ecrire|envoyer|appeler|embeter|solliciter))\b",
    r"\b(?:(?:ne|n) )?(?:me |m |nous )(?:re)?(?:contact|ecri|envoy|envoi|appel|derang|sollicit|relanc|text|demarch|rappel|spamm|harcel|embet|import)\w*"
    r"(?: moi)?(?: \w+){0,1}? (?:plus|pu|jamais)\b(?! (?:tard|tot|vite|d info\w*))|\b(?:ne|n) (?:me |m |nous )?(?:re)?(?:contact|ecri|envoy|appel|rappel|derang|sollicit|relanc|text|demarch)\w*(?: moi| nous)? (?:pas|plus|jamais)\b(?! OBJECT)",
    r"\bn (?:envoy|ecri|appel)\w* (?:plus|pas|jamais)\b(?! OBJECT)|\benvoye[zr]? (?:moi )?plus (?:rien|jamais|de)\b",
    r"(?<!\bj )(?<!\bs )(?<!ai )(?<!jai )(?<!\ba )(?<!\bas )(?<!ont )\b(?:arret|aret|arrett|cess|stop)\w*(?: (?:donc|tout|tous|toutes?|de|d|svp|stp|avec|immediatement|maintenant|un peu|merci))*"
    r" (?:m|me|nous|vos|tes|ce|ces|les|cet|cette|l|ca|cela|envoi\w*|envoy\w*|harcel\w*|spam\w*|pub|MSG)\b(?! (?:arreter|a paris))",
    r"\b(?:des|dez|dis|de) ?(?:abo|abbo)n\w*|\bdesabo\b|\bdes? ?in?scri\w*|\bdesinc?scri\w*",
    r"\b(?:retir|supprim|enlev|effac|ray|sort|vir|radi|ot)\w* (?:moi|nous|(?:mon|ce) (?:numero|num|no|tel\w*|nom|contact|portable|adresse|mail)|mes (?:coordonnees|donnees|infos))\b",
    r"\b(?:me|m|nous) (?:retir|supprim|enlev|effac|ray|sort|vir|radi|ot)\w*(?: \w+){0,3} (?:list\w*|fichiers?|bases?|diffusion|contacts)|\b(?:merci|veuillez|priere|prie|pouvez vous|pourriez vous|faut)(?: (?:de|d|svp|bien))* (?:me|m|nous) (?:retir|supprim|enlev|effac|ray|radi)er?$",
    r"\b(?:sort|retir|supprim|enlev|effac|ray)\w*(?: \w+){0,2} de (?:la|vos|votre|cette|ces) (?:list\w*|fichiers?|base\w*|contacts|diffusion)\b|\b(?:numero|num|nom|tel\w*)(?: est)? a (?:supprimer|retirer|effacer|enlever)\b|\b(?:j en|en|y en|yen) (?:ai|avons|a) (?:assez|marre|ras le bol|plein le dos)(?: \w+){0,4} (?:recevoir|MSG)\b|\b(?:pas la peine|inutile|evite[zr]?) (?:de |d )(?:m |me |nous )?(?:envoy|ecri|contact|appel|relanc|sollicit|rappel)\w*|^(?:je )?(?:veux |veut )?plus rien(?: svp| merci| du tout| s il vous plait)*$|(?:plus|pas)(?: du tout| vraiment)? envie (?:de |d )(?:recevoir|MSG|vos|etre)",
    r"\b(?:ne|n|pas) (?:\w+ )?(?:consen|autoris)\w*(?: (?:plus|pas|jamais))?\b|\bdesactiv\w*(?: (?:les|vos|tous|ces|l|le|d|de|des|envoi))* MSG|\bdroit (?:d |a l )opposition|\b(?:veu[xt]|souhait\w*|demand\w*|voudrais|aimerais|exig\w*|faut) que (?:vous |tu |ca |cela |on )?(?:s )?(?:arret|cess|stop)\w*|\bdeja (?:fait|envoye|mis|dit|ecrit) stop\b",
    r"\b(?:laiss\w*|laise\w*|foute?\w*|fich\w*|fout\w*) (?:moi|nous|me) (?:tranquille|trankil\w*|en paix|la paix)|\blache[zr]? (?:moi|nous)\b|\bfous? (?:moi|nous) la paix|(?<!pas )\boublie[rz]? (?:moi|nous|mon (?:numero|num|tel\w*|nom))\b|(?<!pas )\b(?:m|nous) oublier$|\bme (?:laisser|lacher)(?: tranquille)?\b",
    r"\b(?:retir|revoqu|annul)\w* (?:mon|tout|ma|mes|toute|notre) (?:consentement|accord|autorisation|permission)s?\b|\bje (?:m oppose|refuse|me retire)\b|\bopposition (?:a|au|aux)\b|\b(?:demande|prie|ordonne|exige) (?:\w+ )?(?:cesser|arreter|stopper)\b|\bfaut que ca s arrete|\bveuillez (?:\w+ )?(?:cesser|arreter|stopper)|\b(?:me|m) desabo\w*|\bl arret (?:de |des |d )?(?:vos |ces |tes |tous |toute |l envoi |les )*(?:MSG|envoi)|\betre (?:retir|supprim|enlev|ray|effac|desinscr)\w*",
    r"\b(?:annul|resili)\w* (?:\w+ ){0,2}?(?:abonnement|inscription) (?:aux? |a (?:vos|ces|la|votre) |)(?:\w+ )?MSG|\b(?:annul|resili)\w* (?:\w+ ){0,2}?(?:sms|inscription)\b",
    r"\b(?:stop|non|alto) (?:a|aux|au|al|alla|ai|alle|agli) (?:(?:vos|ces|toutes?|tous|la|les|los|las|sus|vostr\w|quest\w) )*MSG",
    # An end put to messages, in any of the languages.
    rf"\b{_END} {_THEIR}MSG\b(?! (?:is|was|were|has|have|est|ist|en)\b)|^MSG {_END}$|\brefrain from \w+ing\b|^MSG c est fini$",
    # Spanish.
    r"\b(?:dar|darme|dame|denme|deme|dadme|doy|quiero|solicito|pido|pedir|daros|date|tramit\w+)(?: \w+){0,4}? baja\b|\bme doy de baja|\bde baja por favor|\bbaja (?:del?|por favor|sms|inmediata|total|definitiva)\b|\b(?:darse|darme?|den|deis|dan|dado) de baja\b|(?<!estoy )(?<!esta )(?<!estaba )\bde baja$|\b(?:quitar|sacar|borrar|eliminar|retirar|fuera)(?:me|nos)? de (?:la|su|tu|esta|vuestra) lista\b",
    r"\bno (?:me|nos) (?:envie[ns]?|envieis|mande[ns]?|mandeis|llame[ns]?|llameis|escriba[ns]?|escribais|contacte[ns]?|contacteis|moleste[ns]?|molesteis|vuelva[ns]? a)\b",
    r"\bno (?:quiero|deseo|queremos|necesito)(?: \w+){0,3}? (?:recibir\w*|MSG|que me|saber nada|nada|ser \w+)\b|\bno quiero mas$|\bno (?:autorizo|consiento|acepto (?:recibir|MSG))\b|\bno (?:doy|di|he dado) (?:\w+ )?(?:consentimiento|permiso|autorizacion)|\bno vuelva[ns]? a \w+r(?:me|nos)?\b|\bno (?:enviar|envien|enviarme|mandar|manden|llamar|llamen|molestar|molesten)\b",
    r"\b(?:dej|ces|par)(?:e|en|a|ar|ad|es|eis|o) (?:ya )?de (?:recibir|enviar|mandar|llamar|escribir|molestar|contactar|acosar|spam|insist)\w*|\b(?:no|ni un|basta de|ya basta de|nada de|cero|sin) (?:mas )?MSG\b(?! code)|\b(?:quisiera|prefiero|preferiria|quiero|ruego) no recibir|\bque me (?:borren|quiten|saquen|eliminen)\b|\bno (?:mand|envi|escrib|llam|contact|molest|insist)(?:e|en|es|eis|a|an|ais|ar|is)(?: (?:nada|mas|MSG))*$|\b(?:detenga[ns]?|detener|cese[ns]?|cesar|pare[ns]?) (?:(?:los|las|sus|estos|estas|todos|con|de) )*MSG|\bque (?:paren|pararan|dejen|dejaran|cesen|cesaran)\b|\bno mas\b",
    r"\b(?:borr|elimin|quit|saqu|sac|retir)\w*(?:me|nme|dme)\b|(?<!de donde )\b(?:borr|elimin|quit|retir|saqu|sac|olvid)\w* (?:de )?(?:mi$|(?:mis?|este) (?:numero|telefono|nombre|contacto|movil|datos)\b)|\b(?:dej\w*|deja)(?:n?me|dme|n?nos) (?:en paz|tranquil\w+)|\bderecho de oposicion|\bdejad?me (?:tranquil\w+)",
    r"\b(?:cancel|anul)\w* (?:\w+ ){0,2}?(?:suscripcion|MSG)\b|\bquiero cancelar$|\b(?:des|dese?)u?s(?:u|c)scri\w*|\bdesuscri\w*|\bdesapunt\w*|\b(?:retir|revoc)\w* (?:mi|el) consentimiento|\bme opongo(?:$| al? (?:tratamiento|uso|envio|que|recib\w*|MSG|sus?|est[aeo]s?)\b)",
    # German.
    r"\babmeld(?:e|en|ung|et|es)?\b|\babbestell\w*|\b(?:meld|trag|nehm|nimm)\w*(?: \w+){0,3} (?:mich|uns|meine \w+)(?: \w+){0,5} (?:ab|aus|raus)\b(?! (?:und zu|(?:mon|diens|donners|frei|sams|sonn)tag|mittwoch|morgen|heute|nachste\w*))|\b(?:bestell\w*(?: \w+){0,3} (?:MSG|alles|das|service)|ich bestelle)(?: \w+){0,3} ab\b|\bmich (?:\w+ )?(?:austragen|abmelden|loschen|loeschen|entfernen|streichen)\b|^(?:bitte )?(?:austragen|loschen|loeschen|entfernen|streichen) ?(?:bitte)?(?<!^loschen)(?<!^loeschen)(?<!^entfernen)(?<!^streichen)$|\baus (?:dem|der|ihrem|ihrer|eurem|eurer) (?:verteiler|liste|kartei|datenbank) (?:nehmen|streichen|loschen|loeschen|entfernen|austragen)\b|\babgemeldet werden",
    r"\bkeine?n?(?: \w+){0,3}? (?:\w*sms|\w*werbung|MSG|kontakt\w*|infos?) mehr\b|\b(?:will|mochte|moechte|wunsche|wuensche|bitte|brauche|wollen|mag) (?:ich )?(?:\w+ )?kein\w* (?:weitere\w* )?(?:mehr )?(?:\w*werbung|MSG|anrufe)\b",
    r"^(?:bitte )?keine?n? (?:weitere\w* |mehr )?(?:sms|werbung|werbesms|nachrichten|anrufe|mails|newsletter|sms werbung)(?: mehr)?(?: bitte| danke)?$|\b(?:aber|nur|also) keine? (?:weitere\w* )?(?:\w*sms|\w*werbung|MSG)(?: mehr)?(?: bitte)?$|\bunterlass\w*|\bwill (?:das|es|dies|diese \w+|ihre \w+) nicht(?: mehr)?$|\bwill ich nicht mehr$|^(?:bitte )?nicht mehr(?: bitte)?$|\bnichts mehr (?:\w+ ){0,3}(?:bekommen|erhalten|horen|hoeren|schicken|senden|lesen)\b|\b(?:will|mochte|moechte|wunsche|wollen)(?: \w+){0,3} nicht(?: mehr| weiter)?(?: von \w+)? (?:kontaktiert|angeschrieben|angerufen|belastigt|gestort|benachrichtigt)\b|^(?:bitte )?(?:mir |mich |uns )?nicht (?:an)?(?:schreiben|rufen|kontaktieren|storen|stoeren|senden|schicken)(?: bitte)?$|\b(?:schreib|ruf|schick|send|kontaktier)\w*(?: sie)?(?: mir| mich| uns)(?: bitte)? nicht(?: an)?$|\bnie wieder (?:\w+ )?(?:sms|schreiben|anrufen|werbung)",
    r"\bh(?:o|oe)r(?:t|en|)(?: \w+){0,5} auf\b|\b(?:auf)(?:zu)?(?:hor|hoer)en\b|\bstop+(?:t|en|e)(?: \w+){0,3} (?:sms|nachrichten|werbung|mails|anrufe|das)\b",
    r"\b(?:nicht|nie)(?: mehr| weiter| wieder| langer){1,2} (?:\w+ ){0,2}?(?:an)?(?:ge)?(?:schreib\w*|schrieb\w*|ruf\w*|kontaktier\w*|schick\w*|send\w*|zusend\w*|text\w*|belastig\w*|erhalten|bekommen|angeschrieben|angerufen)",
    r"\b(?:schick|schreib|ruf|kontaktier|send|schreiben|belastig)\w*(?: \w+){0,5} (?:nicht|nie|keine?|nichts)(?: \w+){0,3} (?:mehr|an|wieder)\b",
    r"\b(?:losch|loesch|entfern|streich|nehm|nimm)\w*(?: sie| bitte| sofort){0,2} (?:mich|meine (?:\w*nummer|daten)|diese nummer)\b|\bmeine (?:\w*nummer|daten)(?: \w+){0,4} (?:losch|loesch|entfern)\w*",
    r"\braus aus (?:\w+ ){1,2}(?:liste|verteiler)\b|\b(?:MSG|versand|service|dienst)(?: \w+){0,2} einstellen\b|\bstell\w*(?: \w+){0,3} (?:MSG|versand)(?: \w+){0,3} ein$|\b(?:zieh|nehm)\w*(?: \w+){0,3} (?:einwilligung|zustimmung|erlaubnis)(?: \w+){0,3} zuruck\w*|\bkein\w* (?:bedarf|interesse) an (?:\w+ )?(?:\w*sms|MSG)|\b(?:loschung|loeschung) meine[rs] \w+|\bkeine (?:einwilligung|zustimmung|erlaubnis)\b|\bkundig\w*(?: \w+){0,3} (?:MSG|\w*sms)\b|\babgemeldet(?: \w+){0,5} noch\b|\bschluss (?:damit|(?:jetzt )?mit (?:\w+ ){0,2}MSG)\b",
    r"\blass(?:t|en)?(?: sie)? (?:mich|uns)(?: \w+)? in ruhe|\bwiderruf\w*|\bwidersprech\w*|\bwiderspruch\b",
    # Italian.
    r"\b(?:non|mai)(?: ne)? (?:voglio|desidero|intendo|vorrei|vogliamo)(?: \w+){0,3}? (?:ricev\w+|MSG|essere|contatt\w+|sapere|saperne|niente|nulla|sentirvi)\b|\bnon ne voglio (?:piu|altri)|\b(?:preferi\w+|vorrei|voglio|gradirei|desidero|chiedo di|faccio a|fare per) non (?:ricever\w*|essere|avere)\b",
    r"\bnon (?:scriv|invi|mand|chiam|contatt|disturb)(?:e|a|i)(?:te|re)?(?: (?:piu|mai|niente|nulla|altro|altri|piu niente|MSG))*$|\b(?:preg\w+|chied\w+|volete|vuole|potete|puo|dovete|la) (?:\w+ ){0,2}?smett\w+|\b(?:finite|pianta|piantate|finisci|smetti|smette)la\b|\bferma\w* tutto\b|\bmi (?:cancello|disiscrivo|disinscrivo|tolgo)\b",
    r"\bdisattiv\w*(?: (?:gli|i|le|la|il|lo|tutti|questi))* (?:servizio|MSG)\b|\bcome (?:\w+ ){0,2}(?:disattiv|disiscriv|cancell)\w*$|\b(?:non|mai) (?:do|dato|ho dato|ho mai dato|presto|autorizz\w+|acconsent\w+)(?: (?:il|mio|nessun|alcun))* ?(?:consenso|permesso)?\b|\b(?:ritir|revoc|neg)\w* (?:(?:il|del|mio) )*consenso",
    r"\bnon (?:mi|ci) (?:mandate|mandare|mandi|inviate|inviare|invii|contattate|contattare|contatti|scrivete|scrivere|scriva|chiamate|chiamare|chiami|disturbate|disturbare)\b",
    r"\bnon (?:mandat|inviat|scrivet|chiamat|contattat|disturbat|mandar|inviar|scriver|chiamar|contattar)\w*mi\b|\bnon inviate\b|\bnon (?:scriver|inviar|mandar|chiamar|contattar|disturbar)e piu\b|\bfermate (?:\w+ ){0,2}MSG",
    r"\b(?:basta|niente|nessun|no|mai) (?:(?:con|di|piu|altri|altro|questi|i|le|gli|vostri|vostre|a) )*MSG\b(?! code)|\bessere (?:cancellat|rimoss|tolt|eliminat)\w*|\bsmett\w+(?: \w+)? (?:di|con)\b|\bsmettetela\b",
    r"\bdis(?:is|in)?(?:s|)criv\w*|\bdisiscri\w*|\b(?:annull|cancell)\w* (?:\w+ )?(?:l )?(?:iscrizione|abbonamento)\b|\bcancell?[aei]\w*(?:mi|temi)\b|\b(?:cancell|elimin|rimuov)\w* (?:il |questo |i |tutti )*(?:mi[oe]i? )?(?:numero|nome|contatto|dati)\b|\b(?:richiedo|chiedo|vorrei) la (?:cancellazione|rimozione)\b|\bdisd\w* (?:l )?iscrizione|\b(?:cancellazione|rimozione) (?:dei miei dati|dalla lista|dal servizio|dai contatti)|\bannull\w* (?:la )?mia iscrizione|\bdisi?n?s?i?criv\w*|(?<!non )\bdimentica\w*mi\b|\bdimentica\w* il mio numero",
    r"\b(?:togl|rimuov|elimin|lev)\w*mi\b(?! (?:un|una|il|la|i|le|gli|lo|l)\b)|\blasci\w* (?:\w+ )?in pace\b|\b(?:togl|rimuov|elimin|lev)\w* (?:il )?mio (?:numero|nome|contatto)\b|\blasciat?e?mi (?:in pace|stare)|\brevoco (?:il )?(?:mio )?consenso|\bmi oppongo\b",
    # Dutch.
    r"\buitschrijv\w*|\bafmeld\w*|\b(?:schrijf|haal|meld|zet|schrijven|halen|schrap)t?(?: \w+){0,4} (?:me|mij|mijn nummer|m n nummer)(?: \w+){0,5} (?:uit|af|uw lijst|lijst)\b|\b(?:schrijf|haal|schrap) (?:me|mij|mijn nummer)\b(?!(?: \w+)? (?:aan|in|op)\b)",
    r"\b(?:verwijder|wis|vergeet|schrap) (?:me|mij|mijn \w+|m n \w+|dit nummer)\b|\bmaak\w* (?:\w+ )?bezwaar\b|\btoestemming (?:\w+ )?(?:ingetrokken|intrekken)|\bgeen toestemming\b|\bmijn nummer(?: \w+){0,3} verwijder\w*",
    r"\bgeen (?:\w+ ){0,2}?(?:sms\w*|sms jes|sms en|MSG|contact|mails) (?:meer|a ?u ?b|svp|graag|alstublieft)\b|\b(?:wil|wens|hoef)(?: \w+){0,2} geen (?:\w+ )?MSG\b|^(?:graag )?geen (?:\w+ )?MSG$|\b(?:liever|graag) geen (?:\w+ )?MSG|\bbehoefte aan (?:\w+ )?MSG|\b(?:me|mij|mijn nummer) (?:te )?verwijderen\b|\bhoe stop ik (?:dit|deze|het|MSG)|\bstop\w* (?:u |jullie )?(?:hiermee|daarmee)\b",
    r"\bik wil (?:niets|niks)(?: meer)?(?: van (?:jullie|u))?(?: \w+)?$|\bwil (?:\w+ )?niet (?:\w+ )?(?:gebeld|benaderd|gecontacteerd|gesmst|lastiggevallen|gestoord) worden|\b(?:niet|nooit|niets|niks) (?:meer|langer|weer) (?:\w+ ){0,3}?(?:sms\w*|bel\w*|app\w*|stur\w*|contact\w*|ontvang\w*|lastig\w*|mail\w*|benader\w*|bericht\w*|gebeld)",
    r"\b(?:sms|bel|app|stuur|mail|contacteer|benader|stoor|val)t? (?:(?:me|mij|ons)(?: \w+){0,2}? )?(?:dit |deze |aub |u |nu )*(?:niet|geen|nooit|niks|niets)\b|\bneem geen contact\b|\bkap(?:pen)?(?: \w+)? met (?:\w+ )?MSG|\bniet (?:bellen|smsen|sturen|storen)\b|(?!\bhou(?:d|dt)? (?:me|mij|ons|hem|haar|u|jullie) (?:\w+ ){0,3}op de hoogte)(?:(?<!\bik )|(?!\w+ op dit moment (?:\w+ )?van (?!(?:\w+ ){0,3}MSG)))\bhou(?:d|dt)?(?: \w+){0,4} op\b|\bkap(?:pen)? (?:er|hier)?mee\b|\bkap(?:pen)? met (?:\w+ )?MSG|\bstop(?:pen)? met (?!roken|werken)\w+",
    r"\blaat (?:me|mij|ons)(?: \w+)? met rust|\bik (?:wil|hoef) (?:dit|deze|jullie)(?: \w+)? niet(?: meer)?$|\bschrijf (?:\w+ )?uit$|\bik wil (?:hier )?(?:van af|eraf|me afmelden|niet meer)\b|\btrek mijn toestemming in",
    # Said before, and said again in other words.
    r"\b(?:how many times|combien de fois|cuantas veces|quante volte)(?: \w+){0,4} (?:say|send|text|write|type|reply|tell|dire|envoyer|ecrire|taper|decir|enviar|escribir|scrivere|inviare)(?: \w+){0,2} (?:stopp?|baja|arret\w*)\b",
    r"\b(?:envoyer|dire|ecrire|taper) stop (?:encore )?(?:combien de|\w+) fois\b|\bwie oft(?: \w+){0,2} ich(?: \w+){0,2} stopp? (?:sagen|schreiben|senden|schicken)|\bhoe vaak(?: \w+){0,2} ik(?: \w+){0,2} stop (?:zeggen|sturen|schrijven)",
    r"\bno quiero (?:mas )?pare[ns]?\b|\bpor que no me (?:dan|dais|da) de baja\b|\bno me (?:han|habeis|ha) dado de baja\b|(?<!habe )(?<!hab )(?<!ich )\bmich (?:\w+ ){0,3}nicht abgemeldet\b|\bperche non mi (?:cancell|disiscriv|togli)\w*|\bperdere? (?:mas |altro )?(?:tiempo|tempo) con (?:\w+ ){0,3}MSG",
    r"\b(?:already|again|i|we|you|deja|have) (?:already )?(?:said|sent|replied|texted|told|wrote|asked) (?:\w+ ){0,3}?stop\b",
    r"\b(?:envoye|ecrit|mis|repondu|tape|dit|demande|envoi|redis|redit|dis|repete)(?: \w+){0,3} (?:stop|arret\w*|desabo\w*)\b(?! a)",
    r"\b(?:dije|dicho|enviado|puse|pedi|pedido|mande|mandado|envie|escribi|escrito|respondi)(?: \w+){0,2} (?:stop|baja)\b|\b(?:schon|bereits)(?: \w+){0,3} stopp?\b|\b(?:gia|ho)(?: \w+){0,3} stop\b|\b(?:al|heb)(?: \w+){0,4} stop\b",
)
"""A withdrawal in words."""

IN_DOUBT = _any(
    r"\bf+u+c+k+\w*|\bf ck\b|\bpiss off|\bscrew (?:you|u)|\bbugger off|\bshut up|\bgo away|\bget lost|\bbuzz off|\bnot (?:\w+ )?interested|\bno interest\b|\bwrong (?:number|person)",
    r"\bwho gave you|\bhow did you get|\bspam+\w*|\bscam\w*|\bfraud\w*|\bharass\w*|\breport(?:ed|ing)? (?:you|this|it)|\blawyer|\bsue you|\bgdpr|\btcpa|\bfed up|\bsick of|\btired of|\btoo many|\bno thank\w*|\bnot me\b|\bannoying\b|\bhad enough|^i m out$|\btoo much\b|\b(?:fewer|less|too) (?:text|often|messag|frequen)\w*|\btext too\b|^(?:please )?(?:f|eff) (?:off|u)$|\bbite me$|\bhard pass|\bjunk\b|\bblock(?:ed|ing) (?:you|u|this|and)|\b(?:deceased|passed away)\b|^(?:i m|im|he|she|i am)(?: is| s)? (?:dead|died)$|^(?:this is |i m |i am |im )not (?!sure|ready|here|home|there|available|going|able|coming|in|at|far|late|well|done|feeling|yet|a problem|working|free|happy|a member)\w+$|\b(?:no longer|not) an? customer|\bnever (?:signed up|subscribed)|\bnot sign up for|\bdon t know you|\bnew phone who|\b(?:have|has|had) this number|\bfrom (?:this|the) number|\bnot for me$|\blet me out\b",
    r"\bcass\w* toi|\bva te faire|\ballez vous faire|\bvous faire foutre|\bta gueule|\bferme[zr]? la\b|\bconnard\w*|\bmerde|\bdegag\w*|\bchier|\bemmerd\w*|\bsaoul\w*|\bgonfl\w*|\bpas interesse\w*|\b(?:plus|pas) inter+ess\w*|\bpas besoin de vos\b|\bplus client\w*|\bdecede\w*|\bvous trompez|\bpas moi$|\bplus mon numero|\blourds?\b|\bm enerv\w*|\bescroc\w*|\bvoleurs?\b|\bfoutaise\w*|\bhors de question|\bc est (?:trop|fini oui|pas bientot fini)\b|\binteresse pas",
    r"\b(?:mauvais|faux|erreur de) num\w*|\barnaqu\w*|\bharcel\w*|(?<!rien a )\bsignal\w*|\bplainte|\bavocat|\bcnil\b|\brgpd\b|\btrop de|\bmarre\b|\bras le bol|\bca suffit|\bsuffit\b|\bnon merci|\bsans arret|\b(?:vous|tu) (?:n )?arret\w* (?:pas|jamais)",
    r"\b(?:resili|annul|suspend|arret)\w* (?:\w+ ){0,2}?(?:abonnement|adhesion|inscription|carte)|\babonn\w* (?:\w+ ){0,2}(?:annul|resili)\w*|\bqui (?:vous|t) a donne|\bplus (?:de |d )(?:promos?|offres?)\b|\b(?:suis|ete|etes) desabonn\w*|\bplus jamais (?:ca|cela)\b|^plus jamais$|^je (?:ne |n )?veux plus$",
    r"\b(?:que |muy )?pesad[oa]s?\b|\bcomo (?:puedo )?(?:cancel|anul)\w*|\bhart[oa]s\b|\bfallecio|\bno soy (?:cliente|[a-z]+)$|\bse equivoca\w*|\bquien (?:le|te|les) dio|\btimo$|\bpara (?:ya|de una vez)$|\bno me interesa\w*|\bno interesa|\bnumero equivocado|\bestafa|\bacos\w*|\bdenunci\w*|\bjod\w*|\bgilipollas|\bmierda|\bputa\b|\bdemasiad\w*|\bno gracias|\bhart[oa]\b|\bno par(?:a|an) de|^nada mas$",
    r"\bdas reicht\b|\bwoher haben (?:sie|ihr)\b|\bkenne (?:sie|euch) nicht|\bich bin (?:nicht|kein kunde|keine kundin)\b(?! (?:da|zuhause|zu hause|sicher|im))|\bnicht mehr kund\w+|\bverstorben|\babzock\w*|^lass es$|\bbrauch\w* (?:ich|das|ihr \w+) nicht|\bkein\w* interesse|\bnicht interessiert|\bfalsche (?:nummer|person)|\bbetrug|\bbelastig\w*|\banwalt|\bdsgvo|\bscheiss?\w*|\bverpiss\w*|\barsch\w*|\bzu viele?\b|\bnein danke|\breicht (?:es|jetzt|mir)|\bes reicht|\bnerv\w*|\bkundig\w*|^keine mehr$",
    r"\bfastidios\w*|\bche (?:noia|rottura)|\bstufat\w*|\bchi (?:siete|vi ha dato)|\bnon sono (?:cliente|[a-z]+)$|\b(?:e|morto|mort[oa]) mort[oa]\b|\bdecedut\w*|\btruffator\w*|^non mi serve$|\bnon (?:\w+ )?interess\w*|\bnumero sbagliato|\btruffa|\bcazz\w*|\bvaffa\w*|\bstronz\w*|\btropp\w* (?:sms|messagg\w*)|\bno grazie|\bche palle|\brotto|^non voglio$|\bdisdi\w*|\bdenunci\w*|\bbasta\b",
    r"\bzeg(?: \w+){1,5} op$|\birritant|\bvervelend|\baan mijn nummer|\bken (?:u|jullie|je) niet|\bik ben (?:\w+ niet$|geen klant)|\boverleden|^(?:ik heb (?:dit|het) )?niet nodig$|\bgeen interesse|\bniet geinteresseerd|\bverkeerd nummer|\boplicht\w*|\brot op|\bflikker op|\boprotten|\bklootzak\w*|\bte veel|\bteveel|\bnee (?:bedankt|dank)|\bzat\b|\bopzeg\w*|\bavg\b|^niet meer$|^weg ermee$|^laat maar$",
)
"""A withdrawal perhaps: a person decides."""

RESTART = _any(
    r"\breabonn\w*|\bre abonn\w*|\breinscri\w*|\babonnez moi|\bje m abonne|\binscrivez moi|\bje (?:veux|souhaite) (?:bien )?recevoir|\bopt(?:ing)? (?:me )?(?:back )?in\b",
    r"\b(?:re ?)?subscribe me|\bsign me up|\bi want to (?:receive|subscribe|get)|\bstart (?:again|sending|texting)|\bsuscrib\w*me|\bquiero recibir|\banmeld\w* bitte|\bmochte (?:\w+ )?(?:sms|nachrichten) (?:erhalten|bekommen)",
    r"\biscriv\w*mi|\bvoglio ricevere|\bmeld me (?:weer )?aan|\bschrijf me in|\bik wil (?:\w+ )?ontvangen",
)
